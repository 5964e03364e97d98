//! The shell of the image, under the names `sh` and `bash`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Runs the shell, which reads the arguments of the process itself.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    if std::env::args_os().len() != args.len() {
        // Started as `hostbox sh …`: once more, under the shell's own name.
        let (name, rest) = args.split_first().expect("a program has a name");
        let error = Command::new("/proc/self/exe").arg0(name).args(rest).exec();
        eprintln!("hostbox: cannot start the shell: {error}");
        return ExitCode::from(126);
    }
    brush_shell::entry::run();
    ExitCode::SUCCESS
}
