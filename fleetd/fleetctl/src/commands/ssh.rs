//! `ssh`: a shell or a command on a machine, or on the machine of a unit.

use std::process::Command;

use crate::cli::{Global, SshArgs};
use crate::client::{Client, ssh_options};
use crate::commands::drain::full_id;
use crate::failure::Failure;
use crate::unit_args::{is_global, unit_name};

pub(crate) async fn run(client: &Client, global: &Global, args: &SshArgs) -> Result<u8, Failure> {
    let (machine, command) = target(client, args).await?;
    let found = client.machines().await?.into_iter().find(|it| it.id == machine);
    let address = found.map(|it| it.primary_ip).filter(|ip| !ip.is_empty());
    let address = address.ok_or_else(|| Failure::Usage(format!("machine {machine} tells no address")))?;
    let mut ssh = Command::new("ssh");
    ssh.args(ssh_options(global)).args(["-p", &args.ssh_port.to_string()]);
    if args.forward_agent {
        ssh.arg("-A");
    }
    ssh.arg(format!("{}@{address}", global.ssh_username)).args(command);
    let program =
        |error: std::io::Error| Failure::Program { program: "ssh".into(), reason: error.to_string() };
    let status = ssh.status().map_err(program)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// The machine that is meant, and the words left over for the command.
async fn target<'a>(client: &Client, args: &'a SshArgs) -> Result<(String, &'a [String]), Failure> {
    if let Some(machine) = &args.machine {
        return Ok((full_id(client, machine).await?, &args.target));
    }
    if let Some(unit) = &args.unit {
        return Ok((machine_of(client, unit).await?, &args.target));
    }
    let (first, rest) =
        args.target.split_first().ok_or_else(|| Failure::Usage("name a machine or a unit".to_owned()))?;
    match full_id(client, first).await {
        Ok(machine) => Ok((machine, rest)),
        Err(_) => Ok((machine_of(client, first).await?, rest)),
    }
}

async fn machine_of(client: &Client, unit: &str) -> Result<String, Failure> {
    let name = unit_name(unit)?;
    let unit = client.unit(name.as_str()).await?.ok_or_else(|| Failure::NoUnit(name.to_string()))?;
    if is_global(&unit) {
        return Err(Failure::Usage(format!("{name} is global: name a machine instead")));
    }
    if unit.machine_id.is_empty() {
        return Err(Failure::Usage(format!("{name} is on no machine; `fleetctl why {name}` tells why")));
    }
    Ok(unit.machine_id)
}
