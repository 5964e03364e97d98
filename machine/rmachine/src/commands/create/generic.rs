//! The flags of the driver generic, and what they bring along: the user's key and our programs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use machine_driver_generic::GenericDriver;
use machine_types::MachineName;

use super::WRONG_FLAGS;
use crate::failure::Failure;
use crate::machine::Machine;

/// Flags of the driver generic.
#[derive(Debug, Args)]
#[command(next_help_heading = "Driver generic")]
pub(crate) struct Generic {
    /// Address of the host
    #[arg(long, value_name = "ADDRESS", env = "GENERIC_IP_ADDRESS", hide_env_values = true)]
    generic_ip_address: Option<String>,
    /// User to log in as: root, or one who may sudo
    #[arg(long, default_value = "root", value_name = "USER", env = "GENERIC_SSH_USER")]
    #[arg(hide_env_values = true)]
    generic_ssh_user: String,
    /// Private key to log in with [default: ~/.ssh/id_ed25519]
    #[arg(long, value_name = "FILE", env = "GENERIC_SSH_KEY", hide_env_values = true)]
    generic_ssh_key: Option<PathBuf>,
    /// Port of the ssh server
    #[arg(long, default_value_t = 22, value_name = "PORT", env = "GENERIC_SSH_PORT")]
    #[arg(hide_env_values = true)]
    generic_ssh_port: u16,
    /// Port for the engine
    #[arg(long, default_value_t = 2376, value_name = "PORT", env = "GENERIC_ENGINE_PORT")]
    #[arg(hide_env_values = true)]
    generic_engine_port: u16,
}

impl Generic {
    pub(crate) fn driver(&self, name: &MachineName) -> Result<GenericDriver, Failure> {
        let text = self.generic_ip_address.as_deref().ok_or_else(|| {
            Failure::elder(format!("{WRONG_FLAGS}: generic driver requires the --generic-ip-address option"))
        })?;
        let ip_address: IpAddr = text.parse().map_err(|_| {
            Failure::new(format!("`{text}` is no address")).hint("names are not resolved: give a number")
        })?;
        Ok(GenericDriver {
            ip_address,
            machine_name: name.to_string(),
            ssh_user: self.generic_ssh_user.clone(),
            ssh_port: self.generic_ssh_port,
            ssh_key_path: format!("machines/{name}/id_ed25519"),
            engine_port: self.generic_engine_port,
            program: program(),
        })
    }

    /// Copies the user's key into the machine's folder, as docker-machine does.
    pub(crate) fn bring_key(&self, machine: &Machine) -> Result<(), Failure> {
        let source = match &self.generic_ssh_key {
            Some(path) => path.clone(),
            None => std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default().join(".ssh/id_ed25519"),
        };
        let key = machine_store::read(&source).map_err(|error| {
            Failure::from(error).hint("name the key to log in with: `--generic-ssh-key FILE`")
        })?;
        Ok(machine_store::write_unsynced(&machine.place.dir.join("id_ed25519"), &key, 0o600)?)
    }
}

/// The static program that holds our daemons: `RMACHINE_HOSTBOX`, or the one built beside this one.
fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RMACHINE_HOSTBOX") {
        return Some(path.into());
    }
    let own = std::env::current_exe().ok()?;
    let beside = own.parent().map(Path::to_path_buf)?.join("hostbox");
    beside.is_file().then_some(beside)
}
