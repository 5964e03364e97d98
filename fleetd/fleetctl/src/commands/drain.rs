//! `drain` and `undrain`.

use crate::client::Client;
use crate::failure::Failure;

pub(crate) async fn run(client: &Client, machine: &str, draining: bool) -> Result<u8, Failure> {
    let id = full_id(client, machine).await?;
    client.set_draining(&id, draining).await?;
    say!("Machine {id} {}", if draining { "drains" } else { "takes units" });
    Ok(0)
}

/// The one machine whose id begins so.
pub(crate) async fn full_id(client: &Client, beginning: &str) -> Result<String, Failure> {
    let mut found: Vec<String> = client.machines().await?.into_iter().map(|machine| machine.id).collect();
    found.retain(|id| id.starts_with(beginning.trim_end_matches("...")));
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::Usage(format!("no machine's id begins with {beginning}"))),
        many => Err(Failure::Usage(format!("{beginning} is the beginning of {} machines' ids", many.len()))),
    }
}
