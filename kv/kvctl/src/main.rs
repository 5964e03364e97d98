//! The program `kvctl`; everything is in the library.

fn main() -> std::process::ExitCode {
    kvctl::run(std::env::args_os().collect())
}
