//! The client as a program of its own; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    engine_cli::run(std::env::args_os().collect())
}
