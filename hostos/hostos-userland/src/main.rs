//! The programs by their names, for tests and for trying them outside an image: `hostos-userland ps`.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let name = args.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut all = hostos_userland::OWN.iter().chain(hostos_userland::FOREIGN);
    if let Some(program) = all.find(|program| program.name == name) {
        return (program.run)(args);
    }
    eprintln!("hostos-userland: there is no program `{name}`");
    ExitCode::from(127)
}
