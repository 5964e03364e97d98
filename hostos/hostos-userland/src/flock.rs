//! `flock`: holds a lock on a file while a command runs.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;

/// Hold a lock while a command runs
#[derive(Debug, Parser)]
#[command(
    name = "flock",
    override_usage = "flock [OPTIONS] FILE COMMAND [ARGUMENT]...\n       flock [OPTIONS] FILE -c LINE\n       flock [OPTIONS] DESCRIPTOR"
)]
struct Call {
    /// Others may hold it too, if they say this
    #[arg(short = 's', long)]
    shared: bool,
    /// Nobody else may hold it, which is so anyway
    #[arg(short = 'x', visible_short_alias = 'e', long, overrides_with = "shared")]
    exclusive: bool,
    /// Give it back
    #[arg(short = 'u', long)]
    unlock: bool,
    /// Do not wait for it
    #[arg(short = 'n', long, visible_alias = "nb")]
    nonblock: bool,
    /// Wait at most this long
    #[arg(short = 'w', long, visible_alias = "wait", value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Exit with this code if it cannot be had
    #[arg(short = 'E', long, value_name = "NUMBER", default_value_t = 1)]
    conflict_exit_code: u8,
    /// The command does not get the descriptor
    #[arg(short = 'o', long)]
    close: bool,
    /// A file, made if it is missing, a folder, or the number of an open descriptor
    lock: String,
    /// What to run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

const BAD_INPUT: u8 = 66;
const NOT_RUN: u8 = 69;

pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let call = match Call::try_parse_from(args) {
        Ok(call) => call,
        Err(usage) => return crate::misused(&usage),
    };
    let mut command = call.command.clone();
    if command.first().is_some_and(|word| word == "-c" || word == "--command") {
        command.remove(0);
        command = ["sh", "-c"].map(OsString::from).into_iter().chain(command).collect();
    }
    if command.is_empty() {
        return match call.lock.parse::<RawFd>() {
            Ok(number) => ExitCode::from(lock(number, &call)),
            Err(_) => crate::failed("flock", "say what to run, or name an open descriptor by its number"),
        };
    }
    let file = match open(&call.lock) {
        Ok(file) => file,
        Err(error) => {
            eprintln!("flock: cannot open {}: {error}", call.lock);
            return ExitCode::from(BAD_INPUT);
        }
    };
    let code = lock(file.as_raw_fd(), &call);
    if code != 0 {
        return ExitCode::from(code);
    }
    if !call.close {
        // The command, and what it leaves behind, keep the lock as long as they live.
        // Losing the flag can only fail for a descriptor that is not open.
        let _ = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()));
    }
    match Command::new(&command[0]).args(&command[1..]).status() {
        Ok(status) => ExitCode::from(crate::exit_code(status)),
        Err(error) => {
            eprintln!("flock: cannot run {}: {error}", command[0].display());
            ExitCode::from(NOT_RUN)
        }
    }
}

fn open(path: &str) -> std::io::Result<File> {
    let made = OpenOptions::new().read(true).create(true).append(true).mode(0o666).open(path);
    // A folder, or a file that may only be read, can be locked as well.
    made.or_else(|_| File::open(path))
}

/// Takes or gives back the lock; the exit code says whether it worked.
fn lock(descriptor: RawFd, call: &Call) -> u8 {
    let end = call.timeout.map(|limit| Instant::now() + Duration::from_secs_f64(limit.max(0.0)));
    let waits = !call.nonblock && end.is_none();
    let operation = match (call.unlock, call.shared) {
        (true, _) => libc::LOCK_UN,
        (_, true) => libc::LOCK_SH,
        _ => libc::LOCK_EX,
    };
    let operation = if waits { operation } else { operation | libc::LOCK_NB };
    loop {
        match crate::system::flock(descriptor, operation) {
            Ok(()) => return 0,
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EWOULDBLOCK) if end.is_some_and(|end| Instant::now() < end) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(nix::errno::Errno::EWOULDBLOCK) => return call.conflict_exit_code,
            Err(error) => {
                eprintln!("flock: {}: {}", call.lock, error.desc().to_lowercase());
                return BAD_INPUT;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flock(words: &[&str]) -> u8 {
        let call = Call::try_parse_from(["flock"].iter().chain(words)).expect("it parses");
        let file = open(&call.lock).expect("it opens");
        let code = lock(file.as_raw_fd(), &call);
        // The lock is given back with the file.
        drop(file);
        code
    }

    #[test]
    fn a_lock_that_another_holds_is_not_to_be_had() {
        let path = std::env::temp_dir().join(format!("hostos-flock-{}", std::process::id()));
        let name = path.to_str().expect("text");
        let held = open(name).expect("it opens");
        crate::system::flock(held.as_raw_fd(), libc::LOCK_EX).expect("nobody else has it");
        assert_eq!(flock(&["-n", name]), 1);
        assert_eq!(flock(&["-w", "0.05", "-E", "7", name]), 7);
        drop(held);
        assert_eq!(flock(&["-n", name]), 0);
        let shared = open(name).expect("it opens");
        crate::system::flock(shared.as_raw_fd(), libc::LOCK_SH).expect("nobody else has it");
        assert_eq!(flock(&["-s", "-n", name]), 0);
        assert_eq!(flock(&["-n", name]), 1);
        std::fs::remove_file(path).expect("it was there");
    }
}
