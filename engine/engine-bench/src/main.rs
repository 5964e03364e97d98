//! The benchmark as a program; everything is in the library.

fn main() -> std::process::ExitCode {
    engine_bench::run(std::env::args_os().collect())
}
