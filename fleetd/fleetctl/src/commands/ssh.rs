//! `ssh`: a shell or a command on a machine, or on the machine of a unit.

use std::process::Command;

use crate::cli::{Global, SshArgs};
use crate::client::Client;
use crate::commands::drain::full_id;
use crate::failure::Failure;
use crate::tunnel::ssh_options;
use crate::unit_args::{is_global, unit_name};

pub(crate) async fn run(client: &Client, global: &Global, args: &SshArgs) -> Result<u8, Failure> {
    let (machine, command) = target(client, args).await?;
    let found = client.machines().await?.into_iter().find(|it| it.id == machine);
    let address = found.map(|it| it.primary_ip).filter(|ip| !ip.is_empty());
    let address = address.ok_or_else(|| Failure::Plain("Could not determine address of machine.".into()))?;
    let mut ssh = Command::new("ssh");
    ssh.args(ssh_options(global)).args(["-p", &args.ssh_port.to_string()]);
    if args.forward_agent {
        ssh.arg("-A");
    }
    // The machines may be in a network that only the tunnel's host reaches.
    if let Some(tunnel) = &global.tunnel {
        ssh.args(["-J", &format!("{}@{tunnel}", global.ssh_username)]);
    }
    ssh.arg(format!("{}@{address}", global.ssh_username)).args(command);
    let program =
        |error: std::io::Error| Failure::Program { program: "ssh".into(), reason: error.to_string() };
    let status = ssh.status().map_err(program)?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// The machine that is meant, and the words left over for the command.
async fn target<'a>(client: &Client, args: &'a SshArgs) -> Result<(String, &'a [String]), Failure> {
    let refused = |reason: &str| Failure::Plain(format!("Unable to proceed: {reason}"));
    match (&args.machine, &args.unit) {
        (Some(_), Some(_)) => {
            Err(Failure::Plain("Both machine and unit flags provided, please specify only one.".into()))
        }
        (Some(machine), None) => Ok((full_id(client, machine).await?, without_dashes(&args.target))),
        (None, Some(unit)) => Ok((machine_of(client, unit).await?, without_dashes(&args.target))),
        (None, None) => {
            let (first, rest) =
                args.target.split_first().ok_or_else(|| refused("one machine or unit must be provided"))?;
            let machine = match (full_id(client, first).await, machine_of(client, first).await) {
                (Ok(_), Ok(_)) => {
                    let reason = format!(
                        "ambiguous argument, both machine and unit found for `{first}`.\n\
                         Please use flag `--machine` or `--unit` to refine the search"
                    );
                    return Err(refused(&reason));
                }
                (Ok(machine), _) | (_, Ok(machine)) => machine,
                (Err(_), Err(Failure::Plain(reason))) => return Err(Failure::Plain(reason)),
                (Err(Failure::Usage(_)), Err(Failure::NoUnit(_))) => {
                    return Err(refused("could not find matching unit or machine"));
                }
                (Err(failure), Err(_)) => return Err(failure),
            };
            Ok((machine, without_dashes(rest)))
        }
    }
}

/// `ssh UNIT -- command`
fn without_dashes(words: &[String]) -> &[String] {
    words.strip_prefix(&["--".to_owned()]).unwrap_or(words)
}

async fn machine_of(client: &Client, unit: &str) -> Result<String, Failure> {
    let name = unit_name(unit)?;
    let unit = client.unit(name.as_str()).await?.ok_or_else(|| Failure::NoUnit(name.to_string()))?;
    if is_global(&unit) {
        return Err(Failure::Plain("Unable to proceed: global units unsupported".into()));
    }
    if unit.machine_id.is_empty() {
        return Err(Failure::Plain(format!("{name} is on no machine; `fleetctl why {name}` tells why")));
    }
    Ok(unit.machine_id)
}
