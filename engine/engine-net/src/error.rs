//! What can go wrong with a network.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::Subnet;
use crate::model::Protocol;
use crate::netlink::NetlinkError;

#[derive(Debug, thiserror::Error)]
pub enum NetError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("network namespace {path}")]
    Namespace {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot set {path}")]
    Sysctl {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("bridge {0} does not exist; create it, or start the engine without --bridge")]
    NoBridge(String),
    #[error("no interface {0}")]
    NoInterface(String),
    #[error("invalid MAC address {0}")]
    BadMac(String),
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )]
    NoFreePool,
    #[error("Pool overlaps with other one on this address space")]
    PoolOverlaps,
    #[error("no available IPv4 addresses on this network's address pools: {0}")]
    PoolExhausted(Subnet),
    #[error("Address already in use")]
    AddressTaken(Ipv4Addr),
    #[error("Invalid address {address}: It does not belong to any of this network's subnets")]
    AddressOutside { address: Ipv4Addr },
    #[error("Bind for {ip}:{port} failed: port is already allocated")]
    PortAllocated { ip: IpAddr, port: u16 },
    #[error("listen {protocol} {ip}:{port}: bind: {source}")]
    PortInUse { protocol: Protocol, ip: IpAddr, port: u16, source: io::Error },
    #[error("all ports are allocated")]
    NoFreePort,
}
