//! The program `hostos`, for workstations; in the image hostbox carries it as an applet.

use std::process::ExitCode;

fn main() -> ExitCode {
    hostos_provision::run(std::env::args_os().collect())
}
