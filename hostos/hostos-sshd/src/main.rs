//! The ssh server as a program of its own; in the image it is a part of hostbox.

use std::process::ExitCode;

fn main() -> ExitCode {
    hostos_sshd::run(std::env::args_os().collect())
}
