//! The small programs that units and people expect on a machine.
//!
//! coreutils, findutils, sed and grep come from uutils; here they only get their names. There is no
//! awk, no editor and no package manager.

mod await_socket;
mod foreign;
mod mounts;
mod privileges;
mod processes;

use std::ffi::OsString;
use std::process::ExitCode;

/// A program: its name, and what runs when it is started under that name.
#[derive(Clone, Copy)]
pub struct Program {
    /// Such as `ls`.
    pub name: &'static str,
    /// Arguments start with the name.
    pub run: fn(Vec<OsString>) -> ExitCode,
}

/// Programs of uutils, sorted by name.
pub const FOREIGN: &[Program] = foreign::PROGRAMS;

/// Programs of our own, sorted by name.
pub const OWN: &[Program] = &[
    Program { name: "await-socket", run: await_socket::run },
    Program { name: "dmesg", run: processes::dmesg },
    Program { name: "free", run: processes::free },
    Program { name: "mount", run: mounts::mount },
    Program { name: "nologin", run: privileges::nologin },
    Program { name: "ps", run: processes::ps },
    Program { name: "sudo", run: privileges::sudo },
    Program { name: "umount", run: mounts::unmount },
];

/// Says what went wrong, as `program: problem`.
fn failed(program: &str, problem: &str) -> ExitCode {
    eprintln!("{program}: {problem}");
    ExitCode::FAILURE
}

fn misused(usage: &clap::Error) -> ExitCode {
    let _ = usage.print();
    ExitCode::from(if usage.use_stderr() { 2 } else { 0 })
}
