//! The shell of the image, under the names `sh` and `bash`: brush, which is a crate of others.
//!
//! Commands and scripts of units are run from here, with what that crate lacks: [`signals`] reach traps,
//! `$!` and [`wait`] know processes, and `kill` is the program of that name. So are [`session`]s, at a
//! terminal or from a pipe. What is left, such as `--version`, is for the crate's own front end.
//!
//! It lacks `select`; a file that is read in by `.` has no `$!`; a trap waits for a `read` to get its line.

mod background;
mod call;
mod editor;
mod line;
mod rewrite;
mod script;
mod session;
mod signals;
mod wait;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use call::{Call, Work};

/// Runs the shell. Its front end reads the arguments of the process itself.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    if std::env::args_os().len() != args.len() {
        // Started as `hostbox sh …`: once more, under the shell's own name.
        return again(&args);
    }
    let words: Vec<String> = args.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(code) = background::resume(&words) {
        return code;
    }
    match Call::read(&words) {
        Some(call) if call.work == Work::Session => return session::run(call),
        Some(call) => return script::run(call),
        None => {}
    }
    brush_shell::entry::run();
    ExitCode::SUCCESS
}

fn again(args: &[OsString]) -> ExitCode {
    let (name, rest) = args.split_first().expect("a program has a name");
    let error = Command::new("/proc/self/exe").arg0(name).args(rest).exec();
    eprintln!("hostbox: cannot start the shell: {error}");
    ExitCode::from(126)
}
