//! The program `kv-bench`; everything is in the library.

fn main() -> std::process::ExitCode {
    kv_bench::run(std::env::args_os().collect())
}
