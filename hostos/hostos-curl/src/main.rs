//! `curl` as a program of its own, for tests and for trying it outside an image.

fn main() -> std::process::ExitCode {
    hostos_curl::run(std::env::args_os().collect())
}
