//! The Ignition config of a machine: its own, with the user's laid over it.

use std::path::Path;

use hostos_config::Config;
use machine_core::ignition::{Identity, config};
use machine_types::Record;

use crate::failure::Failure;
use crate::keys::MachineKeys;

/// The user's part, kept in the machine's folder for when keys change.
pub(crate) const EXTRA: &str = "extra.ign";

/// A user's config, checked.
pub(crate) fn read(path: &Path) -> Result<Config, Failure> {
    let shown = path.display().to_string();
    let bytes = machine_store::read(path)?;
    parse(&shown, &bytes)
        .map_err(|failure| failure.hint("fix the config; `hostos ignition validate FILE` checks it").code(3))
}

/// The machine's whole config as JSON.
pub(crate) fn whole(record: &Record, keys: &MachineKeys, extra: Option<&Config>) -> Result<String, Failure> {
    let own = config(&Identity {
        name: &record.name,
        driver: &record.driver_name,
        engine: &record.host_options.engine_options,
        ca: &keys.ca,
        server_cert: &keys.server.cert,
        server_key: &keys.server.key,
        ssh_host_key: &keys.ssh_host_key,
        ssh_authorized_key: &keys.ssh_authorized_key,
    });
    let Some(extra) = extra else { return Ok(own.to_string()) };
    let own = parse("the machine's own config", own.to_string().as_bytes())?;
    let merged = hostos_config::merge(&own, extra).to_json();
    // Two good configs may not go together.
    parse("the merged config", merged.as_bytes())?;
    Ok(merged)
}

fn parse(name: &str, bytes: &[u8]) -> Result<Config, Failure> {
    match hostos_config::parse(bytes, name) {
        Ok((config, warnings)) => {
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            Ok(config)
        }
        Err(rejected) => Err(Failure::new(rejected.to_string())),
    }
}
