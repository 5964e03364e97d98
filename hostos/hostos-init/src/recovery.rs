//! A shell on the serial console of a machine that cannot start, for whoever asked for one.
//!
//! It is asked for by the kernel argument `rmachine.recovery=1`: in `rmachine create --qemu-cmdline`, in
//! a PXE script, or in the config's own `kernelArguments`. A file would not do, as a config that fails
//! writes none; and nothing that runs on the machine can set it. Without it, nobody who can reach the
//! console gets in.
#![allow(unsafe_code, reason = "a controlling terminal is taken by ioctl in the child")]

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

const ARGUMENT: &str = "rmachine.recovery";

/// Whether the command line asks for it.
pub(crate) fn is_wanted(command_line: &str) -> bool {
    let mut value = command_line.split_whitespace().filter_map(|word| {
        let (key, value) = word.split_once('=').unwrap_or((word, "1"));
        (key == ARGUMENT).then_some(value)
    });
    value.next_back().is_some_and(|value| ["1", "yes", "true", "on"].contains(&value))
}

/// Runs a shell until it ends, if one is asked for.
pub(crate) fn offer() {
    if !is_wanted(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default()) {
        return;
    }
    println!("rmachine: here is a shell, as {ARGUMENT} asks; the machine turns off when it ends");
    match shell() {
        Ok(pid) => wait(pid),
        Err(error) => eprintln!("rmachine: no shell: {error}"),
    }
}

fn shell() -> std::io::Result<Pid> {
    let console = OpenOptions::new().read(true).write(true).open("/dev/console")?;
    let mut command = Command::new("/bin/bash");
    command
        .arg("-i")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/root")
        .env("TERM", "vt220")
        .env("PS1", "recovery# ")
        .stdin(Stdio::from(console.try_clone()?))
        .stdout(Stdio::from(console.try_clone()?))
        .stderr(Stdio::from(console));
    // SAFETY: between fork and exec only system calls are made, which are safe there: PID 1's other
    // threads hold no lock that these would want.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            // SAFETY: a plain ioctl on the standard input; a console that is none only refuses.
            let _ = libc::ioctl(0, libc::TIOCSCTTY, 1);
            nix::sys::signal::SigSet::empty().thread_set_mask()?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).expect("the kernel counts in 31 bits")))
}

/// Waits for the shell, and buries what else ends meanwhile: this is PID 1.
fn wait(shell: Pid) {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) if pid == shell => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_counts_and_the_last_one() {
        assert!(is_wanted("quiet rmachine.recovery=1"));
        assert!(is_wanted("rmachine.recovery"));
        assert!(!is_wanted("quiet"));
        assert!(!is_wanted("rmachine.recovery=1 rmachine.recovery=0"));
        assert!(!is_wanted("rmachine.recoveryx=1"));
    }
}
