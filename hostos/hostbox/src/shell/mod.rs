//! The shell of the image, under the names `sh` and `bash`: brush, which is a crate of others.
//!
//! Commands and scripts of units are run from here, with what that crate lacks: [`signals`] reach traps,
//! and `kill` is the program of that name. At a terminal the crate's own front end reads the lines.
//!
//! It lacks `$!` (so `wait` waits for all), `select`, and `wait -n`.

mod call;
mod script;
mod signals;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use call::{Call, Work};

/// Runs the shell. Its front end reads the arguments of the process itself.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    if std::env::args_os().len() != args.len() {
        // Started as `hostbox sh …`: once more, under the shell's own name.
        return again(&args, &[]);
    }
    let words: Vec<String> = args.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match Call::read(&words) {
        Some(call) if call.work != Work::Session => return script::run(call),
        // Its front end would look for a line editor that is not built in.
        Some(_) if std::io::stdin().is_terminal() => return again(&args, &["--input-backend", "basic"]),
        _ => {}
    }
    brush_shell::entry::run();
    ExitCode::SUCCESS
}

fn again(args: &[OsString], more: &[&str]) -> ExitCode {
    let (name, rest) = args.split_first().expect("a program has a name");
    let error = Command::new("/proc/self/exe").arg0(name).args(more).args(rest).exec();
    eprintln!("hostbox: cannot start the shell: {error}");
    ExitCode::from(126)
}
