//! The program `fleet-sim`; all of it is in the library.

fn main() -> std::process::ExitCode {
    fleet_sim::run(std::env::args_os().collect())
}
