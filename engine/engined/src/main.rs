//! The engine as a program of its own; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    engined::run(std::env::args_os().collect())
}
