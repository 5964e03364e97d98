//! A UDP socket on the DHCP client port of one interface, which need not have an address yet.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use tokio::net::UdpSocket;

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

/// Larger than any answer that fits an Ethernet frame.
const MAX_PACKET: usize = 2048;

pub(super) struct Socket {
    udp: UdpSocket,
}

impl Socket {
    pub(super) fn open(link: &str, address: Ipv4Addr) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        setsockopt(&fd, ReuseAddr, &true)?;
        setsockopt(&fd, Broadcast, &true)?;
        setsockopt(&fd, BindToDevice, &link.into())?;
        bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, CLIENT_PORT)))?;
        let udp = std::net::UdpSocket::from(fd);
        Ok(Self { udp: UdpSocket::from_std(udp)? })
    }

    pub(super) async fn send(&self, packet: &[u8], to: Ipv4Addr) -> io::Result<()> {
        self.udp.send_to(packet, (to, SERVER_PORT)).await.map(drop)
    }

    pub(super) async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; MAX_PACKET];
        let length = self.udp.recv(&mut packet).await?;
        packet.truncate(length);
        Ok(packet)
    }
}
