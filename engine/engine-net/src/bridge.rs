//! Bridges on the host.

use std::net::Ipv4Addr;

use crate::error::NetError;
use crate::mac::{mac_of, parse_mac};
use crate::model::Network;
use crate::{Subnet, route};

/// Makes the network's bridge what it should be: there, up, with the gateway's
/// address. What is right already stays as it is.
pub fn ensure(network: &Network) -> Result<(), NetError> {
    let mut socket = route::open()?;
    let name = &network.bridge;
    if route::index_of(&mut socket, name)?.is_none() {
        if network.foreign_bridge {
            return Err(NetError::NoBridge(name.clone()));
        }
        // A fixed address, else it changes as containers come and go.
        let gateway = network.pool.gateway.unwrap_or(Ipv4Addr::new(172, 17, 0, 1));
        let mac = parse_mac(&mac_of(gateway)).unwrap_or([2, 0x42, 0, 0, 0, 1]);
        route::unless_there(socket.batch(&mut [route::add_bridge(name, network.mtu, mac)]))?;
    }
    let index = route::index_of_name(name).ok_or_else(|| NetError::NoBridge(name.clone()))?;
    if let Some(gateway) = network.pool.gateway.filter(|_| !network.foreign_bridge) {
        let address = route::add_address(index, gateway, network.pool.subnet.prefix());
        route::unless_there(socket.batch(&mut [address]))?;
    }
    socket.batch(&mut [route::set_up(name)])?;
    if !network.internal {
        // Lets a port published on 127.0.0.1 reach the container. The firewall
        // keeps the container's side out of 127.0.0.0/8.
        set_sysctl(&format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")?;
    }
    let _ = set_sysctl(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    Ok(())
}

/// Deletes the network's bridge, if it is ours and still there.
pub fn remove(network: &Network) -> Result<(), NetError> {
    let mut socket = route::open()?;
    if network.foreign_bridge || route::index_of(&mut socket, &network.bridge)?.is_none() {
        return Ok(());
    }
    socket.batch(&mut [route::delete_link(&network.bridge)]).map_err(Into::into)
}

/// The addresses of an existing bridge, for `-b`.
pub fn addresses(name: &str) -> Result<Vec<(Ipv4Addr, u8)>, NetError> {
    let index = route::index_of_name(name).ok_or_else(|| NetError::NoBridge(name.to_owned()))?;
    Ok(route::addresses_of(&mut route::open()?, index)?)
}

/// Subnets this host routes somewhere, which a new network must not cover.
pub fn used_subnets() -> Result<Vec<Subnet>, NetError> {
    Ok(route::routed_subnets(&mut route::open()?)?)
}

/// `--ip-forward`
pub fn enable_forwarding() -> Result<(), NetError> {
    set_sysctl("/proc/sys/net/ipv4/ip_forward", "1")
}

fn set_sysctl(path: &str, value: &str) -> Result<(), NetError> {
    // Only what differs is written: /proc/sys may be read-only and right.
    if std::fs::read_to_string(path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    std::fs::write(path, value).map_err(|source| NetError::Sysctl { path: path.to_owned(), source })
}
