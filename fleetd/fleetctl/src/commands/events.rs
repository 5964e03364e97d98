//! `events`: what happens, as it happens.

use std::io::Write as _;

use fleet_api::ClusterEvent;

use crate::cli::EventsArgs;
use crate::client::Client;
use crate::failure::Failure;

pub(crate) async fn run(client: &Client, args: &EventsArgs, json: bool) -> Result<u8, Failure> {
    if !args.follow {
        return Err(Failure::Usage("events are told as they happen: add --follow".into()));
    }
    let mut partial = Vec::new();
    let print = |bytes: &[u8]| {
        partial.extend_from_slice(bytes);
        while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = partial.drain(..=end).collect();
            if json {
                let _ = std::io::stdout().write_all(&line);
            } else if let Ok(event) = serde_json::from_slice::<ClusterEvent>(&line) {
                say!("{}", sentence(&event));
            }
        }
    };
    client.stream("/events", print).await?;
    Ok(0)
}

fn sentence(event: &ClusterEvent) -> String {
    let words = [
        event.revision.to_string(),
        event.kind.clone(),
        event.action.clone(),
        event.unit.clone(),
        event.machine_id.clone(),
        event.detail.clone(),
    ];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
