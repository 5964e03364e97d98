//! Links, addresses and routes through rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use tokio::task::JoinHandle;

use crate::Lease;

/// Why the network is not as wished.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No netlink.
    #[error("cannot talk to the kernel's network")]
    Netlink(#[source] io::Error),
    /// One request failed.
    #[error("cannot {what}")]
    Request {
        /// Such as `bring up eth0`.
        what: String,
        /// Why.
        source: rtnetlink::Error,
    },
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Number of the interface.
    pub index: u32,
    /// Such as `eth0`.
    pub name: String,
    /// Hardware address; empty if it has none.
    pub mac: Vec<u8>,
    /// Whether it is an Ethernet device made of hardware (or of a hypervisor), not of software.
    pub physical: bool,
    /// Whether a cable is plugged in and the interface is up.
    pub running: bool,
}

/// A connection to the kernel's network.
#[derive(Debug)]
pub struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Links {
    /// Must be called inside a tokio runtime.
    pub fn connect() -> Result<Self, NetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetworkError::Netlink)?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Every interface, in the kernel's order.
    pub async fn list(&self) -> Result<Vec<Link>, NetworkError> {
        let failed = |source| NetworkError::Request { what: "list the links".to_owned(), source };
        let messages: Vec<_> = self.handle.link().get().execute().try_collect().await.map_err(failed)?;
        Ok(messages
            .into_iter()
            .map(|message| {
                let mut link = Link {
                    index: message.header.index,
                    name: String::new(),
                    mac: Vec::new(),
                    physical: false,
                    running: message.header.flags.contains(LinkFlags::Running),
                };
                for attribute in message.attributes {
                    match attribute {
                        LinkAttribute::IfName(name) => link.name = name,
                        LinkAttribute::Address(mac) => link.mac = mac,
                        _ => {}
                    }
                }
                link.physical = message.header.link_layer_type == LinkLayerType::Ether
                    && Path::new("/sys/class/net").join(&link.name).join("device").exists();
                link
            })
            .collect())
    }

    /// Brings an interface up.
    pub async fn set_up(&self, link: &Link) -> Result<(), NetworkError> {
        let message = LinkUnspec::new_with_index(link.index).up().build();
        let failed = |source| NetworkError::Request { what: format!("bring up {}", link.name), source };
        self.handle.link().set(message).execute().await.map_err(failed)
    }

    /// Gives `link` an address.
    pub async fn add_address(&self, link: &Link, address: IpAddr, prefix: u8) -> Result<(), NetworkError> {
        let failed = |source| NetworkError::Request {
            what: format!("give {} the address {address}/{prefix}", link.name),
            source,
        };
        self.handle.address().add(link.index, address, prefix).replace().execute().await.map_err(failed)
    }

    /// Takes every IPv4 address but `keep` from `link`.
    pub async fn remove_other_ipv4(&self, link: &Link, keep: Ipv4Addr) -> Result<(), NetworkError> {
        let failed =
            |source| NetworkError::Request { what: format!("list the addresses of {}", link.name), source };
        let request = self.handle.address().get().set_link_index_filter(link.index).execute();
        let messages: Vec<_> = request.try_collect().await.map_err(failed)?;
        for message in messages.into_iter().filter(|message| message.header.family == AddressFamily::Inet) {
            if message.attributes.contains(&AddressAttribute::Address(IpAddr::V4(keep))) {
                continue;
            }
            let what = format!("take an old address from {}", link.name);
            let gone = self.handle.address().del(message).execute().await;
            gone.map_err(|source| NetworkError::Request { what, source })?;
        }
        Ok(())
    }

    /// Sends everything that is not local through `router`. `metric` tells links apart: lower wins.
    pub async fn add_default_route(
        &self,
        link: &Link,
        router: Ipv4Addr,
        metric: u32,
    ) -> Result<(), NetworkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(router)
            .output_interface(link.index)
            .priority(metric)
            .build();
        let failed = |source| NetworkError::Request {
            what: format!("route through {router} on {}", link.name),
            source,
        };
        self.handle.route().add(route).replace().execute().await.map_err(failed)
    }

    /// Addresses of the machine but those of loopback and link-local ones, in the kernel's order.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>, NetworkError> {
        let failed = |source| NetworkError::Request { what: "list the addresses".to_owned(), source };
        let messages: Vec<_> = self.handle.address().get().execute().try_collect().await.map_err(failed)?;
        let all =
            messages.into_iter().flat_map(|message| message.attributes).filter_map(
                |attribute| match attribute {
                    AddressAttribute::Address(address) => Some(address),
                    _ => None,
                },
            );
        Ok(all.filter(|address| global(*address)).collect())
    }

    /// Makes `link` what `lease` says, and tells the gateway about it with one packet, so that whoever
    /// waits behind it need not ask for the machine's hardware address first.
    pub async fn apply(&self, link: &Link, lease: &Lease) -> Result<(), NetworkError> {
        self.add_address(link, IpAddr::V4(lease.address), lease.prefix).await?;
        self.remove_other_ipv4(link, lease.address).await?;
        if let Some(router) = lease.router {
            self.add_default_route(link, router, 100 + link.index).await?;
            greet(lease.address, router);
        }
        Ok(())
    }

    /// Waits until `link` runs, at most `limit`. False if it does not.
    pub async fn wait_running(&self, link: &Link, limit: Duration) -> Result<bool, NetworkError> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            if self.list().await?.iter().any(|other| other.index == link.index && other.running) {
                return Ok(true);
            }
            if tokio::time::Instant::now() >= end {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

/// One packet to the discard port: nobody listens, the neighbours' tables are what counts.
fn greet(from: Ipv4Addr, router: Ipv4Addr) {
    if let Ok(socket) = UdpSocket::bind(SocketAddr::from((from, 0))) {
        let _ = socket.send_to(&[0], SocketAddr::from((router, 9)));
    }
}
