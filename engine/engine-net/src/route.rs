//! Links, addresses and routes as netlink messages.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::netlink::{CREATE, DUMP, EXCLUSIVE, Message, NetlinkError, Socket, attributes};

const IFF_UP: u32 = 1;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

/// `struct ifinfomsg`
fn link_header(index: u32, up: bool) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        header[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        header[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    header
}

pub(crate) fn set_up(name: &str) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &link_header(0, true), format!("set {name} up"));
    message.text(libc::IFLA_IFNAME, name);
    message
}

pub(crate) fn add_bridge(name: &str, mtu: u32, mac: [u8; 6]) -> Message {
    let purpose = format!("create bridge {name}");
    let mut message = Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &link_header(0, true), purpose);
    message.text(libc::IFLA_IFNAME, name).attribute(libc::IFLA_ADDRESS, &mac);
    if mtu > 0 {
        message.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
    }
    message.nest(libc::IFLA_LINKINFO, |info| {
        info.attribute(IFLA_INFO_KIND, b"bridge");
    });
    message
}

/// One end of a veth pair on the bridge and up; the other, down, in the
/// namespace `peer_namespace`: the kernel refuses a peer that is up already.
pub(crate) struct Veth<'a> {
    pub(crate) name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) peer: &'a str,
    pub(crate) peer_mac: [u8; 6],
    pub(crate) peer_namespace: BorrowedFd<'a>,
    pub(crate) mtu: u32,
}

pub(crate) fn add_veth(veth: &Veth<'_>) -> Message {
    let purpose = format!("create the interface pair {} and {}", veth.name, veth.peer);
    let mut message = Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &link_header(0, true), purpose);
    message.text(libc::IFLA_IFNAME, veth.name).attribute(libc::IFLA_MASTER, &veth.bridge.to_ne_bytes());
    if veth.mtu > 0 {
        message.attribute(libc::IFLA_MTU, &veth.mtu.to_ne_bytes());
    }
    message.nest(libc::IFLA_LINKINFO, |info| {
        info.attribute(IFLA_INFO_KIND, b"veth").nest(IFLA_INFO_DATA, |data| {
            data.nest(VETH_INFO_PEER, |peer| {
                peer.raw(&link_header(0, false)).text(libc::IFLA_IFNAME, veth.peer);
                peer.attribute(libc::IFLA_ADDRESS, &veth.peer_mac);
                if veth.mtu > 0 {
                    peer.attribute(libc::IFLA_MTU, &veth.mtu.to_ne_bytes());
                }
                peer.attribute(libc::IFLA_NET_NS_FD, &veth.peer_namespace.as_raw_fd().to_ne_bytes());
            });
        });
    });
    message
}

/// Lets a frame go back out of the port it came in by. Where the kernel filters
/// bridged packets, a container reaches its own published port only so.
pub(crate) fn set_hairpin(name: &str) -> Message {
    const SLAVE_KIND: u16 = 4;
    const SLAVE_DATA: u16 = 5;
    const MODE: u16 = 4;
    let purpose = format!("set the bridge port {name} to hairpin mode");
    let mut message = Message::new(libc::RTM_NEWLINK, 0, &link_header(0, false), purpose);
    message.text(libc::IFLA_IFNAME, name).nest(libc::IFLA_LINKINFO, |info| {
        info.attribute(SLAVE_KIND, b"bridge").nest(SLAVE_DATA, |data| {
            data.attribute(MODE, &[1]);
        });
    });
    message
}

pub(crate) fn delete_link(name: &str) -> Message {
    let mut message = Message::new(libc::RTM_DELLINK, 0, &link_header(0, false), format!("delete {name}"));
    message.text(libc::IFLA_IFNAME, name);
    message
}

/// Give the address to the interface with this index.
pub(crate) fn add_address(index: u32, address: Ipv4Addr, prefix: u8) -> Message {
    let mut header = [0; 8];
    header[0] = libc::AF_INET as u8;
    header[1] = prefix;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let purpose = format!("add address {address}/{prefix}");
    let mut message = Message::new(libc::RTM_NEWADDR, CREATE | EXCLUSIVE, &header, purpose);
    let broadcast = crate::Subnet::new(address, prefix).broadcast();
    message
        .attribute(libc::IFA_LOCAL, &address.octets())
        .attribute(libc::IFA_ADDRESS, &address.octets())
        .attribute(libc::IFA_BROADCAST, &broadcast.octets());
    message
}

/// `struct rtmsg` of the main table.
const DEFAULT_ROUTE: [u8; 12] = [libc::AF_INET as u8, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];

pub(crate) fn add_default_route(gateway: Ipv4Addr) -> Message {
    let purpose = format!("add the default route by {gateway}");
    let mut message = Message::new(libc::RTM_NEWROUTE, CREATE | EXCLUSIVE, &DEFAULT_ROUTE, purpose);
    message.attribute(libc::RTA_GATEWAY, &gateway.octets());
    message
}

pub(crate) fn delete_default_route() -> Message {
    Message::new(libc::RTM_DELROUTE, 0, &DEFAULT_ROUTE, "delete the default route")
}

/// Name → index of an interface, in the socket's namespace.
pub(crate) fn index_of(socket: &mut Socket, name: &str) -> Result<Option<u32>, NetlinkError> {
    let mut found = None;
    let mut message = Message::new(libc::RTM_GETLINK, DUMP, &link_header(0, false), "list interfaces");
    socket.dump(&mut message, |_, body| {
        let (Some(header), Some(rest)) = (body.get(..16), body.get(16..)) else { return };
        let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        let is_it = attributes(rest).any(|(kind, value)| {
            kind == libc::IFLA_IFNAME && value.strip_suffix(&[0]).unwrap_or(value) == name.as_bytes()
        });
        if is_it {
            found = Some(index);
        }
    })?;
    Ok(found)
}

/// The IPv4 addresses with prefix of the interface with this index.
pub(crate) fn addresses_of(socket: &mut Socket, index: u32) -> Result<Vec<(Ipv4Addr, u8)>, NetlinkError> {
    let mut found = Vec::new();
    let header = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0];
    let mut message = Message::new(libc::RTM_GETADDR, DUMP, &header, "list addresses");
    socket.dump(&mut message, |_, body| {
        let (Some(head), Some(rest)) = (body.get(..8), body.get(8..)) else { return };
        if u32::from_ne_bytes([head[4], head[5], head[6], head[7]]) != index {
            return;
        }
        let local = attributes(rest).find(|(kind, _)| *kind == libc::IFA_LOCAL).map(|(_, value)| value);
        if let Some(&[a, b, c, d]) = local {
            found.push((Ipv4Addr::new(a, b, c, d), head[1]));
        }
    })?;
    Ok(found)
}

/// The subnets this host has routes to (the default route left out).
pub(crate) fn routed_subnets(socket: &mut Socket) -> Result<Vec<crate::Subnet>, NetlinkError> {
    let mut found = Vec::new();
    let mut message = Message::new(libc::RTM_GETROUTE, DUMP, &[0; 12], "list routes");
    socket.dump(&mut message, |_, body| {
        let (Some(head), Some(rest)) = (body.get(..12), body.get(12..)) else { return };
        // Family, prefix length, and the main table only.
        if head[0] != libc::AF_INET as u8 || head[1] == 0 || head[4] != 254 {
            return;
        }
        let target = attributes(rest).find(|(kind, _)| *kind == libc::RTA_DST).map(|(_, value)| value);
        if let Some(&[a, b, c, d]) = target {
            found.push(crate::Subnet::new(Ipv4Addr::new(a, b, c, d), head[1]));
        }
    })?;
    Ok(found)
}

/// Is this the refusal of something that is there already?
pub(crate) fn unless_there(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

pub(crate) fn open() -> Result<Socket, NetlinkError> {
    Socket::open(libc::NETLINK_ROUTE)
        .map_err(|error: io::Error| NetlinkError::new("open a netlink socket", error))
}

/// Index of an interface of this thread's own namespace, the quick way for one that
/// is there: for the name of another the kernel runs modprobe, twice. (Not by
/// `/sys/class/net`, which shows the namespace of whoever mounted it.)
#[allow(unsafe_code, reason = "if_nametoindex has no std wrapper")]
pub(crate) fn index_of_name(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: name outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}
