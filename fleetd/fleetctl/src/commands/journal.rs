//! `journal` and `status`: what units say, through the API.

use std::io::Write as _;

use crate::cli::{JournalArgs, StatusArgs};
use crate::client::Client;
use crate::commands::drain::full_id;
use crate::failure::Failure;
use crate::unit_args::unit_name;

pub(crate) async fn journal(client: &Client, args: &JournalArgs) -> Result<u8, Failure> {
    let name = unit_name(&args.unit)?;
    let mut path = format!("/journal/{name}?lines={}&output={}", args.lines, args.output);
    if args.follow {
        path.push_str("&follow=1");
    }
    if let Some(machine) = &args.machine {
        path.push_str(&format!("&machineID={}", full_id(client, machine).await?));
    }
    client.stream(&path, print).await?;
    Ok(0)
}

pub(crate) async fn status(client: &Client, args: &StatusArgs) -> Result<u8, Failure> {
    for (index, unit) in args.units.iter().enumerate() {
        if index > 0 {
            println!();
        }
        client.stream(&format!("/status/{}", unit_name(unit)?), print).await?;
    }
    Ok(0)
}

fn print(bytes: &[u8]) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(bytes);
    let _ = stdout.flush();
}
