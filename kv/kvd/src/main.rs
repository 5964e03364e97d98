//! The program `kvd`; everything is in the library.

fn main() -> std::process::ExitCode {
    kvd::run(std::env::args_os().collect())
}
