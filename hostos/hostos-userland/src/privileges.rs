//! `sudo` and `nologin`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// `sudo COMMAND`: for units that say it out of habit. It runs the command if it may anyway: nothing
/// on a machine gains rights, root logs in by its own key.
pub(crate) fn sudo(args: Vec<OsString>) -> ExitCode {
    let rest =
        args.iter().skip(1).skip_while(|arg| ["-n", "-E", "-H", "-S", "--"].iter().any(|flag| arg == flag));
    let command: Vec<_> = rest.collect();
    let Some((program, rest)) = command.split_first() else {
        eprintln!("Usage: sudo COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    if !nix::unistd::geteuid().is_root() {
        return crate::failed(
            "sudo",
            "nothing gains rights on this machine; log in as root with a key of its own",
        );
    }
    let error = Command::new(program).args(rest).exec();
    crate::failed("sudo", &format!("cannot run {}: {error}", program.display()))
}

/// `nologin`: the shell of accounts that nobody logs in to.
pub(crate) fn nologin(_args: Vec<OsString>) -> ExitCode {
    println!("This account is not for logging in.");
    ExitCode::FAILURE
}
