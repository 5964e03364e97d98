//! Links, addresses and routes through rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType};
use rtnetlink::{Handle, LinkUnspec};
use tokio::task::JoinHandle;

use crate::file::StaticAddress;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Number of the interface.
    pub index: u32,
    /// Such as `eth0`.
    pub name: String,
    /// Hardware address; empty if it has none.
    pub mac: Vec<u8>,
    /// Whether it is an Ethernet device made of hardware (or of a hypervisor), not of software.
    pub physical: bool,
    /// Whether the interface is up and has a carrier: packets can be sent. The kernel's own word that it is
    /// running comes up to a second later, as it gathers such news.
    pub carrier: bool,
}

/// A connection to the kernel's network.
#[derive(Debug)]
pub struct Links {
    pub(crate) handle: Handle,
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
                    carrier: message.header.flags.contains(LinkFlags::LowerUp),
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

    /// Gives an interface another hardware address or packet size. It is down while the first changes.
    pub async fn reshape(
        &self,
        link: &Link,
        mac: Option<&[u8]>,
        mtu: Option<u32>,
    ) -> Result<(), NetworkError> {
        let failed = |source| NetworkError::Request { what: format!("change {}", link.name), source };
        if let Some(mac) = mac.filter(|mac| *mac != link.mac) {
            let message = LinkUnspec::new_with_index(link.index).down().address(mac.to_vec()).build();
            self.handle.link().set(message).execute().await.map_err(failed)?;
        }
        if let Some(mtu) = mtu {
            let message = LinkUnspec::new_with_index(link.index).mtu(mtu).build();
            self.handle.link().set(message).execute().await.map_err(failed)?;
        }
        Ok(())
    }

    /// An IPv6 address of `link` that reaches beyond it and is not still being probed.
    pub async fn global_ipv6(&self, link: &Link) -> Result<Option<(Ipv6Addr, u8)>, NetworkError> {
        let failed =
            |source| NetworkError::Request { what: format!("list the addresses of {}", link.name), source };
        let request = self.handle.address().get().set_link_index_filter(link.index).execute();
        let messages: Vec<_> = request.try_collect().await.map_err(failed)?;
        Ok(messages.iter().find_map(|message| {
            let usable = !message.header.flags.contains(AddressHeaderFlags::Tentative);
            message.attributes.iter().filter(|_| usable).find_map(|attribute| match attribute {
                AddressAttribute::Address(IpAddr::V6(address)) if global(IpAddr::V6(*address)) => {
                    Some((*address, message.header.prefix_len))
                }
                _ => None,
            })
        }))
    }

    /// Gives `link` an address.
    pub async fn add_address(&self, link: &Link, address: IpAddr, prefix: u8) -> Result<(), NetworkError> {
        let failed = |source| NetworkError::Request {
            what: format!("give {} the address {address}/{prefix}", link.name),
            source,
        };
        self.handle.address().add(link.index, address, prefix).replace().execute().await.map_err(failed)
    }

    /// Gives `link` an address that a file declares.
    pub async fn add_static_address(&self, link: &Link, wanted: &StaticAddress) -> Result<(), NetworkError> {
        let prefix = wanted.prefix;
        let mut request = self.handle.address().add(link.index, prefix.address, prefix.bits).replace();
        if let Some(peer) = wanted.peer {
            let attributes = &mut request.message_mut().attributes;
            attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Address(_)));
            attributes.push(AddressAttribute::Address(peer));
            attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
        }
        if let Some(broadcast) = wanted.broadcast {
            let attributes = &mut request.message_mut().attributes;
            attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
            attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        let failed = |source| NetworkError::Request {
            what: format!("give {} the address {}/{}", link.name, prefix.address, prefix.bits),
            source,
        };
        request.execute().await.map_err(failed)
    }

    /// Takes every IPv4 address but those in `keep` from `link`.
    pub async fn remove_other_ipv4(&self, link: &Link, keep: &[Ipv4Addr]) -> Result<(), NetworkError> {
        let failed =
            |source| NetworkError::Request { what: format!("list the addresses of {}", link.name), source };
        let request = self.handle.address().get().set_link_index_filter(link.index).execute();
        let messages: Vec<_> = request.try_collect().await.map_err(failed)?;
        for message in messages.into_iter().filter(|message| message.header.family == AddressFamily::Inet) {
            let kept = message.attributes.iter().any(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) => keep.contains(address),
                _ => false,
            });
            if kept {
                continue;
            }
            let what = format!("take an old address from {}", link.name);
            match self.handle.address().del(message).execute().await {
                // Secondary addresses go with the first one of their network.
                Err(rtnetlink::Error::NetlinkError(error))
                    if error.raw_code() == -(nix::errno::Errno::EADDRNOTAVAIL as i32) => {}
                other => other.map_err(|source| NetworkError::Request { what, source })?,
            }
        }
        Ok(())
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

    /// Waits until `link` has a carrier, at most `limit`. False if it has none then.
    pub async fn wait_for_carrier(&self, link: &Link, limit: Duration) -> Result<bool, NetworkError> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            if self.list().await?.iter().any(|other| other.index == link.index && other.carrier) {
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
