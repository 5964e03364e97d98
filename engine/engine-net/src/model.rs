//! Networks, endpoints and ports as values; `engined` keeps them as JSON.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::subnet::Subnet;

/// A bridge network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    /// The bridge interface: `docker0`, or `br-` and 12 digits of the id.
    pub bridge: String,
    pub pool: Pool,
    pub mtu: u32,
    /// No way out and no published ports.
    pub internal: bool,
    /// Containers of this network may talk to each other.
    pub icc: bool,
    pub masquerade: bool,
    /// The address published ports bind to unless they name one.
    pub host_address: Option<Ipv4Addr>,
    /// False for docker0: there, only links resolve.
    pub embedded_dns: bool,
    /// The bridge was there before (`-b`): neither made nor deleted.
    pub foreign_bridge: bool,
}

/// The addresses of a network and who has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    pub subnet: Subnet,
    pub gateway: Option<Ipv4Addr>,
    /// `--ip-range`, `--fixed-cidr`: dynamic addresses come from here.
    pub range: Option<Subnet>,
    /// `--aux-address`: name → address never given out.
    pub auxiliary: BTreeMap<String, Ipv4Addr>,
    /// Address → endpoint id.
    pub taken: BTreeMap<Ipv4Addr, String>,
    /// Where the last search ended, so that an address rests before reuse.
    pub last: Option<Ipv4Addr>,
}

/// A container's place in a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub id: String,
    pub network: String,
    pub container: String,
    pub address: Option<Ipv4Addr>,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    /// `02:42:ac:11:00:02`
    pub mac: String,
    /// The interface on the host, `veth` and 7 digits.
    pub host_interface: String,
    /// The interface in the container, `eth0`.
    pub interface: String,
}

/// A port reachable from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    pub protocol: Protocol,
    pub host_ip: IpAddr,
    pub host_port: u16,
    pub container_ip: Ipv4Addr,
    pub container_port: u16,
    /// The bridge behind which the container sits.
    pub bridge: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// `--link`: with icc off, lets one container reach another's exposed ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    pub bridge: String,
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub protocol: Protocol,
    pub port: u16,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
