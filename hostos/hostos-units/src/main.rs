//! Runs a supervisor as an ordinary process below one folder, or one of its applets: for trying
//! units out, and for tests. On a machine, `hostos-init` drives the library instead.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use hostos_units::{Options, Supervisor};

const HELP: &str = "\
hostos-units --below DIR [--cgroup DIR] [--admins GROUP]... [--start UNIT]... [--events]
hostos-units --machine [--start UNIT]...
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

/// What the first process of a machine does last.
fn end_machine(next: hostos_units::ShutdownAction) -> Result<(), Box<dyn std::error::Error>> {
    use nix::sys::reboot::{RebootMode, reboot};
    let mode = match next {
        hostos_units::ShutdownAction::Reboot => RebootMode::RB_AUTOBOOT,
        hostos_units::ShutdownAction::Halt => RebootMode::RB_HALT_SYSTEM,
        _ => RebootMode::RB_POWER_OFF,
    };
    nix::unistd::sync();
    reboot(mode)?;
    Ok(())
}

fn supervise(args: &[OsString]) -> Result<(), Box<dyn std::error::Error>> {
    let mut below: Option<PathBuf> = None;
    let mut cgroup = None;
    let mut admins = Vec::new();
    let mut start = Vec::new();
    let mut events = false;
    let mut machine = false;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value =
            || args.next().cloned().ok_or_else(|| format!("{} needs a value", arg.to_string_lossy()));
        match arg.to_str() {
            Some("--below") => below = Some(value()?.into()),
            Some("--cgroup") => cgroup = Some(PathBuf::from(value()?)),
            Some("--admins") => admins.push(value()?.to_string_lossy().into_owned()),
            Some("--start") => start.push(value()?.to_string_lossy().into_owned()),
            Some("--events") => events = true,
            Some("--machine") => machine = true,
            Some("-h" | "--help") => {
                std::io::stdout().write_all(HELP.as_bytes())?;
                return Ok(());
            }
            _ => return Err(format!("unknown argument `{}`\n{HELP}", arg.to_string_lossy()).into()),
        }
    }
    let options = match &below {
        Some(dir) => Options { cgroup_root: cgroup, admin_groups: admins, ..Options::below(dir) },
        None if machine => Options::system(),
        None => return Err("--below DIR or --machine is missing".into()),
    };
    let mut supervisor = Supervisor::new(options)?;
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
    let next = supervisor.run()?;
    if machine && std::process::id() == 1 {
        end_machine(next)?;
    }
    Ok(())
}
