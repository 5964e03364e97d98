//! Host ports, held so that nobody else takes them.
//!
//! Packets to a published port are redirected before any socket sees them; the
//! socket here only keeps the number taken, and finds out if it is.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use crate::error::NetError;
use crate::model::Protocol;

/// The ports this engine has published.
#[derive(Debug, Default)]
pub struct Ports {
    held: Mutex<HashMap<(Protocol, IpAddr, u16), Held>>,
}

#[derive(Debug)]
enum Held {
    /// Only its existence matters.
    Tcp {
        _socket: OwnedFd,
    },
    Udp {
        _socket: UdpSocket,
    },
}

impl Ports {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the first free port of `range`; without a range, any from the
    /// kernel's ephemeral range.
    pub fn reserve(
        &self,
        protocol: Protocol,
        ip: IpAddr,
        range: Option<RangeInclusive<u16>>,
    ) -> Result<u16, NetError> {
        let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let single = range.as_ref().is_some_and(|range| range.start() == range.end());
        for port in range.unwrap_or_else(ephemeral) {
            let taken = held.keys().any(|(p, other, n)| *p == protocol && *n == port && clash(*other, ip));
            let error = if taken {
                NetError::PortAllocated { ip, port }
            } else {
                match bind(protocol, SocketAddr::new(ip, port)) {
                    Ok(socket) => {
                        held.insert((protocol, ip, port), socket);
                        return Ok(port);
                    }
                    Err(source) => NetError::PortInUse { protocol, ip, port, source },
                }
            };
            if single {
                return Err(error);
            }
        }
        Err(NetError::NoFreePort)
    }

    pub fn release(&self, protocol: Protocol, ip: IpAddr, port: u16) {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&(protocol, ip, port));
    }
}

fn clash(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

/// The kernel's own range, as Docker takes it.
fn ephemeral() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut words = text.split_whitespace().filter_map(|word| word.parse().ok());
    match (words.next(), words.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => 32768..=60999,
    }
}

fn bind(protocol: Protocol, address: SocketAddr) -> io::Result<Held> {
    match protocol {
        Protocol::Udp => Ok(Held::Udp { _socket: UdpSocket::bind(address)? }),
        // A listener whose queue nobody empties: redirected packets never get here.
        Protocol::Tcp => Ok(Held::Tcp { _socket: TcpListener::bind(address)?.into() }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_port_is_given_once_and_again_after_release() {
        let ports = Ports::new();
        let port = ports.reserve(Protocol::Tcp, LOCAL, None).unwrap();
        let again = ports.reserve(Protocol::Tcp, LOCAL, Some(port..=port));
        assert!(matches!(again, Err(NetError::PortAllocated { .. })), "{again:?}");
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        assert!(ports.reserve(Protocol::Tcp, any, Some(port..=port)).is_err());
        ports.release(Protocol::Tcp, LOCAL, port);
        assert_eq!(ports.reserve(Protocol::Tcp, LOCAL, Some(port..=port)).unwrap(), port);
    }

    #[test]
    fn a_port_somebody_listens_on_is_refused_and_a_range_goes_on() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let ports = Ports::new();
        let refused = ports.reserve(Protocol::Tcp, LOCAL, Some(port..=port));
        assert!(matches!(refused, Err(NetError::PortInUse { .. })), "{refused:?}");
        assert!(ports.reserve(Protocol::Tcp, LOCAL, Some(port..=port + 20)).unwrap() > port);
        let udp = ports.reserve(Protocol::Udp, LOCAL, None).unwrap();
        assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, udp)).is_err());
    }
}
