//! Runs a supervisor as an ordinary process below one folder, or one of its applets: for trying
//! units out, and for tests. On a machine, `hostos-init` drives the library instead.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use hostos_units::{Options, Supervisor};

const HELP: &str = "\
hostos-units --below DIR [--cgroup DIR] [--start UNIT]... [--events]
hostos-units systemctl ...
hostos-units journalctl ...
";

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let name =
        args.first().map(|arg| arg.to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned());
    match (name.as_deref(), args.get(1).and_then(|arg| arg.to_str())) {
        (Some("systemctl"), _) => return hostos_units::systemctl(&args),
        (Some("journalctl"), _) => return hostos_units::journalctl(&args),
        (_, Some("systemctl")) => return hostos_units::systemctl(&args[1..]),
        (_, Some("journalctl")) => return hostos_units::journalctl(&args[1..]),
        _ => {}
    }
    match supervise(&args[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            let _ = writeln!(std::io::stderr(), "error: {text}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(args: &[OsString]) -> Result<(), Box<dyn std::error::Error>> {
    let mut below: Option<PathBuf> = None;
    let mut cgroup = None;
    let mut start = Vec::new();
    let mut events = false;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value =
            || args.next().cloned().ok_or_else(|| format!("{} needs a value", arg.to_string_lossy()));
        match arg.to_str() {
            Some("--below") => below = Some(value()?.into()),
            Some("--cgroup") => cgroup = Some(PathBuf::from(value()?)),
            Some("--start") => start.push(value()?.to_string_lossy().into_owned()),
            Some("--events") => events = true,
            Some("-h" | "--help") => {
                std::io::stdout().write_all(HELP.as_bytes())?;
                return Ok(());
            }
            _ => return Err(format!("unknown argument `{}`\n{HELP}", arg.to_string_lossy()).into()),
        }
    }
    let below = below.ok_or("--below DIR is missing")?;
    let mut supervisor = Supervisor::new(Options { cgroup_root: cgroup, ..Options::below(&below) })?;
    if events {
        supervisor.on_event(|event| {
            let _ = writeln!(std::io::stdout(), "{event:?}");
        });
    }
    for unit in start {
        if let Err(error) = supervisor.start(&unit) {
            let _ = writeln!(std::io::stderr(), "error: {error}");
        }
    }
    supervisor.run()?;
    Ok(())
}
