//! The Ignition config of a machine: its own, with the user's laid over it.

use std::path::Path;

use hostos_config::Config;
use machine_core::ignition::{Identity, Keys, config};
use machine_driver_qemu::ENGINE_PORT;

use crate::cluster::MEMBER_CONFIG;
use crate::engine::socket_address;
use crate::failure::Failure;
use crate::keys::MachineKeys;
use crate::machine::Machine;

/// The user's part, kept in the machine's folder for when keys change.
pub(crate) const EXTRA: &str = "extra.ign";

/// A user's config, checked.
pub(crate) fn read(path: &Path) -> Result<Config, Failure> {
    let shown = path.display().to_string();
    let bytes = machine_store::read(path)
        .map_err(|error| Failure::from(error).hint("name an Ignition config: `--ignition FILE`").code(3))?;
    parse(&shown, &bytes)
        .map_err(|failure| failure.hint("fix the config; `hostos ignition validate FILE` checks it").code(3))
}

/// The machine's whole config as JSON.
pub(crate) fn whole(
    machine: &Machine,
    keys: &MachineKeys,
    extra: Option<&Config>,
) -> Result<String, Failure> {
    let record = &machine.record;
    let own = config(&Identity {
        name: &record.name,
        id: record.id,
        driver: &record.driver_name,
        engine: &record.host_options.engine_options,
        engine_port: engine_port(machine),
        ca: &keys.ca,
        keys: Keys::Made {
            server_cert: &keys.server.cert,
            server_key: &keys.server.key,
            ssh_host_key: &keys.ssh_host_key,
        },
        ssh_user: machine.driver.login_user(),
        ssh_authorized_key: &keys.ssh_authorized_key,
    });
    let member = machine.place.dir.join(MEMBER_CONFIG);
    let member = member.exists().then(|| machine_store::read(&member)).transpose()?;
    if extra.is_none() && member.is_none() {
        return Ok(own.to_string());
    }
    let mut whole = parse("the machine's own config", own.to_string().as_bytes())?;
    if let Some(member) = member {
        whole = hostos_config::merge(&whole, &parse("the cluster's part of the config", &member)?);
    }
    let merged = match extra {
        Some(extra) => hostos_config::merge(&whole, extra).to_json(),
        None => whole.to_json(),
    };
    // Two good configs may not go together.
    parse("the merged config", merged.as_bytes())?;
    Ok(merged)
}

/// Where the engine listens in the machine: forwards may show it elsewhere.
pub(crate) fn engine_port(machine: &Machine) -> u16 {
    let direct = machine.driver.has_own_ssh().then(|| machine.driver.engine_url()).flatten();
    direct.and_then(|url| socket_address(&url).ok()).map_or(ENGINE_PORT, |address| address.port())
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
