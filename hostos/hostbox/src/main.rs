//! Every program of the image in one static executable. It does nothing itself: it looks at the name
//! it was started under, or else at its first argument, and hands over.

mod applets;
mod shell;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use applets::{Program, programs};

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let own = args.first().map(|name| base_name(name)).unwrap_or_default();
    if own == "hostbox" {
        if args.len() > 1 {
            args.remove(0);
        }
        let first = args.first().map(|name| base_name(name)).unwrap_or_default();
        return match first.as_str() {
            "--list" => list(),
            "hostbox" | "--help" | "-h" | "help" => usage(),
            name => find(name).map_or_else(|| unknown(name), |program| (program.run)(args)),
        };
    }
    find(&own).map_or_else(|| unknown(&own), |program| (program.run)(args))
}

/// A login shell is started as `-bash`.
fn base_name(name: &OsStr) -> String {
    let name = Path::new(name).file_name().unwrap_or(name).to_string_lossy();
    name.strip_prefix('-').filter(|rest| !rest.starts_with('-')).unwrap_or(&name).to_owned()
}

fn find(name: &str) -> Option<&'static Program> {
    programs().find(|program| program.name == name)
}

fn list() -> ExitCode {
    for program in programs() {
        println!("{}", program.name);
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    println!("Usage: hostbox PROGRAM [ARGUMENT]...\n\nPrograms: {}", names());
    ExitCode::SUCCESS
}

fn unknown(name: &str) -> ExitCode {
    eprintln!("hostbox: there is no program `{name}` in here\nhint: there are {}", names());
    ExitCode::from(127)
}

fn names() -> String {
    programs().map(|program| program.name).collect::<Vec<_>>().join(" ")
}
