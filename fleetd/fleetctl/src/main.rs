//! The program `fleetctl`; all of it is in the library, so that the image's one executable holds it too.

fn main() -> std::process::ExitCode {
    fleetctl::run(std::env::args_os().collect())
}
