//! The program `engine-shim`; everything is in the library.

fn main() -> std::process::ExitCode {
    engine_shim::run(std::env::args_os().collect())
}
