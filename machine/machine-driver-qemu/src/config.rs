//! What `config.json` keeps for a QEMU machine. The first keys are docker-machine's.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use hostos_config::KernelArguments;
use machine_core::driver::{Forward, Protocol};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::accel::Accel;

/// Port of the engine in every machine.
pub const ENGINE_PORT: u16 = 2376;
/// Port of the key-value store in every machine of a cluster.
pub const KV_PORT: u16 = 2379;
/// Port of fleetd in every machine of a cluster.
pub const FLEET_PORT: u16 = 49153;
/// Port of the ssh server in every machine.
pub const SSH_PORT: u16 = 22;

/// How a machine reaches others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Out through QEMU's own stack, in by forwards on loopback.
    #[default]
    User,
    /// As `User`, and a second interface on the cluster's switch.
    Cluster,
    /// As `User`, and a second interface on a bridge of this workstation; needs privileges.
    Bridge,
    /// As `User`, and a second interface on a tap of this workstation; needs privileges.
    Tap,
}

/// Ports of this workstation that a machine may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest, at least one above.
    pub last: u16,
}

/// Below the ports that this workstation's own connections take, above the well-known ones.
impl Default for PortRange {
    fn default() -> Self {
        Self { first: 20_000, last: 31_999 }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ports =
            text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match ports {
            // One for ssh and one for the engine.
            Some((first, last)) if 0 < first && first < last => Ok(Self { first, last }),
            _ => Err(format!("`{text}` is no range of at least two ports: write it like 30000-30999")),
        }
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        format!("{}-{}", range.first, range.last)
    }
}

/// What `config.json` keeps for a QEMU machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QemuConfig {
    /// Where its ports are on this workstation.
    #[serde(rename = "IPAddress")]
    pub ip_address: IpAddr,
    /// The machine's name, for scripts that read it here.
    pub machine_name: String,
    /// User to log in as.
    #[serde(rename = "SSHUser")]
    pub ssh_user: String,
    /// Where ssh is on this workstation; 0 before the first start.
    #[serde(rename = "SSHPort")]
    pub ssh_port: u16,
    /// Private key, relative to the store.
    #[serde(rename = "SSHKeyPath")]
    pub ssh_key_path: String,
    /// Where the engine is on this workstation; 0 before the first start.
    pub engine_port: u16,
    /// MiB.
    pub memory: u32,
    /// Virtual processors.
    #[serde(rename = "CPU")]
    pub cpu: u32,
    /// MB of the state disk.
    pub disk_size: u64,
    /// The emulator.
    pub program: String,
    /// How it reaches others.
    pub network: Network,
    /// Bridge to join, when `network` says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network_bridge: String,
    /// Tap to use, when `network` says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network_interface: String,
    /// Socket of the switch to join, when `network` says so; relative to the store.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network_switch: String,
    /// What the user wants.
    pub accel: Accel,
    /// What the last start took: `kvm` or `tcg`.
    pub accel_used: String,
    /// Why it took that.
    pub accel_reason: String,
    /// Release it boots, a folder in the store's `images/`.
    pub image: String,
    /// Address of its first interface.
    pub mac: String,
    /// Ways in.
    pub forwards: Vec<Forward>,
    /// Guest ports whose host port the user chose, so that it must not move.
    pub pinned: Vec<u16>,
    /// Ports of this workstation to choose from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_ports: Option<PortRange>,
    /// QEMU's word for the cache of the disk, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cache_mode: String,
    /// QEMU's word for how the disk is read and written, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub io_mode: String,
    /// Further words for the kernel command line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cmdline: String,
    /// What the machine's config wants of it, once the machine has asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_arguments: Option<KernelArguments>,
}

impl QemuConfig {
    /// A machine with the defaults of the flags.
    #[must_use]
    pub fn new(name: &str, id: Uuid, image: &str) -> Self {
        let mut config = Self {
            ip_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            machine_name: name.to_owned(),
            ssh_user: "core".into(),
            ssh_port: 0,
            ssh_key_path: format!("machines/{name}/id_ed25519"),
            engine_port: 0,
            memory: 1024,
            cpu: 1,
            disk_size: 20_000,
            program: "qemu-system-x86_64".into(),
            network: Network::User,
            network_bridge: String::new(),
            network_interface: String::new(),
            network_switch: String::new(),
            accel: Accel::Auto,
            accel_used: String::new(),
            accel_reason: String::new(),
            image: image.to_owned(),
            mac: mac(id, 0),
            forwards: Vec::new(),
            pinned: Vec::new(),
            local_ports: None,
            cache_mode: String::new(),
            io_mode: String::new(),
            cmdline: String::new(),
            kernel_arguments: None,
        };
        config.open(SSH_PORT, 0);
        config.open(ENGINE_PORT, 0);
        config
    }

    /// Adds a way in on loopback. A host port other than 0 is the user's choice and stays.
    pub fn open(&mut self, guest_port: u16, host_port: u16) {
        self.forwards.retain(|forward| forward.guest_port != guest_port);
        self.forwards.push(Forward {
            protocol: Protocol::Tcp,
            host_address: self.ip_address,
            host_port,
            guest_port,
        });
        if host_port != 0 {
            self.pinned.push(guest_port);
        }
        self.note_ports();
    }

    /// Copies the two well-known ports to where old scripts look for them.
    pub(crate) fn note_ports(&mut self) {
        let host_port = |guest_port| {
            let found = self.forwards.iter().find(|forward| forward.guest_port == guest_port);
            found.map_or(0, |forward| forward.host_port)
        };
        (self.ssh_port, self.engine_port) = (host_port(SSH_PORT), host_port(ENGINE_PORT));
    }
}

/// A locally administered address, the same in every start and different for every machine.
#[must_use]
pub fn mac(id: Uuid, interface: u8) -> String {
    let b = id.as_bytes();
    format!("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4] ^ interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_has_room_for_two() {
        let range: PortRange = "30000-30001".parse().expect("a range");
        assert_eq!(String::from(range), "30000-30001");
        for bad in ["", "30000", "0-10", "30000-30000", "30001-30000", "1-70000", "a-b"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }
}
