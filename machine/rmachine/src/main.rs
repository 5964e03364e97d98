//! The program `rmachine`; everything is in its library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rmachine::run(std::env::args_os().collect())
}
