//! `journal` and `status`: what units say, through the API.

use std::io::Write as _;

use fleet_unit::{TargetState, UnitName};

use crate::cli::{JournalArgs, StatusArgs};
use crate::client::Client;
use crate::commands::drain::full_id;
use crate::failure::Failure;
use crate::unit_args::{is_global, unit_name};

pub(crate) async fn journal(client: &Client, args: &JournalArgs) -> Result<u8, Failure> {
    let name = placed(client, &args.unit, "running").await?;
    let mut path = format!("/journal/{name}?lines={}&output={}", args.lines, args.output);
    if args.follow {
        path.push_str("&follow=1");
    }
    if let Some(machine) = &args.machine {
        path.push_str(&format!("&machineID={}", full_id(client, machine).await?));
    }
    client.stream(&path, print).await
}

/// The status of each, until one is not well: then its code is ours, as if `systemctl` had been called.
pub(crate) async fn status(client: &Client, args: &StatusArgs) -> Result<u8, Failure> {
    for (index, unit) in args.units.iter().enumerate() {
        let name = placed(client, unit, "loaded").await?;
        if index > 0 {
            say!();
        }
        let code = client.stream(&format!("/status/{name}"), print).await?;
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}

/// The name of a unit that some machine can speak for; else the refusal is in fleet's words.
async fn placed(client: &Client, arg: &str, wanted: &str) -> Result<UnitName, Failure> {
    let name = unit_name(arg)?;
    let unit = client.unit(name.as_str()).await?;
    let unit = unit.ok_or_else(|| Failure::Plain(format!("Unit {name} does not exist.")))?;
    if !is_global(&unit) && unit.current_state == TargetState::Inactive.as_str() {
        return Err(Failure::Plain(format!("Unit {name} does not appear to be {wanted}.")));
    }
    Ok(name)
}

fn print(bytes: &[u8]) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(bytes);
    let _ = stdout.flush();
}
