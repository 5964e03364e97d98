//! Router advertisements: the name servers and search domains in them (RFC 8106). Their addresses and
//! routes are the kernel's business.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use nix::sys::socket::sockopt::BindToDevice;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket};
use tokio::net::UdpSocket;

use crate::is_name;

const ADVERTISEMENT: u8 = 134;
const OPTION_SERVERS: u8 = 25;
const OPTION_DOMAINS: u8 = 31;

/// Bytes before the options.
const HEADER: usize = 16;

/// What one advertisement says of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains.
    pub domains: Vec<String>,
    /// For how long.
    pub lifetime: Duration,
}

/// What an ICMPv6 message says of names; nothing if it is no advertisement or says nothing.
#[must_use]
pub fn parse(message: &[u8]) -> Option<Names> {
    if *message.first()? != ADVERTISEMENT {
        return None;
    }
    let mut names = Names::default();
    let mut rest = message.get(HEADER..)?;
    while let [kind, length, ..] = *rest {
        let length = usize::from(length) * 8;
        let Some(option) = rest.get(..length).filter(|option| option.len() >= 8) else { break };
        let lifetime = u32::from_be_bytes(option[4..8].try_into().ok()?);
        match kind {
            OPTION_SERVERS if lifetime > 0 => {
                names.servers.extend(option[8..].chunks_exact(16).map(|bytes| {
                    let bytes: [u8; 16] = bytes.try_into().expect("chunks of 16");
                    IpAddr::V6(Ipv6Addr::from(bytes))
                }));
                names.lifetime = names.lifetime.max(Duration::from_secs(lifetime.into()));
            }
            OPTION_DOMAINS if lifetime > 0 => {
                names.domains.extend(domains(&option[8..]));
                names.lifetime = names.lifetime.max(Duration::from_secs(lifetime.into()));
            }
            _ => {}
        }
        rest = &rest[length..];
    }
    (!names.servers.is_empty() || !names.domains.is_empty()).then_some(names)
}

/// Names as DNS writes them, one after the other, zeros behind the last.
fn domains(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut labels: Vec<String> = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let Some(label) = rest.get(..usize::from(*length)) else { break };
        if label.is_empty() {
            if labels.is_empty() {
                break;
            }
            let name = labels.join(".");
            found.extend(is_name(&name).then_some(name));
            labels.clear();
        } else {
            labels.push(String::from_utf8_lossy(label).into_owned());
        }
        bytes = &rest[usize::from(*length)..];
    }
    found
}

/// Hears the advertisements on one link.
#[derive(Debug)]
pub struct Listener {
    /// A raw socket, which is read like one of UDP.
    socket: UdpSocket,
}

impl Listener {
    /// Must be called inside a tokio runtime, best before the link is up: the first advertisement comes
    /// at once.
    ///
    /// # Errors
    /// There is no IPv6, or no right to listen.
    pub fn open(link: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6)?;
        setsockopt(&fd, BindToDevice, &link.into())?;
        Ok(Self { socket: UdpSocket::from_std(fd.into())? })
    }

    /// The next advertisement that says something of names.
    ///
    /// # Errors
    /// The socket is of no use any more.
    pub async fn next(&self) -> io::Result<Names> {
        let mut buffer = [0; 2048];
        loop {
            match self.socket.recv(&mut buffer).await {
                Ok(length) => {
                    if let Some(names) = parse(&buffer[..length]) {
                        return Ok(names);
                    }
                }
                // A link that goes down says so once.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advertisement() -> Vec<u8> {
        let mut message = vec![ADVERTISEMENT, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([1, 1, 2, 0, 0, 0, 0, 1]);
        message.extend([OPTION_SERVERS, 3, 0, 0, 0, 0, 4, 176]);
        message.extend("fd00::53".parse::<Ipv6Addr>().expect("an address").octets());
        message.extend([OPTION_DOMAINS, 3, 0, 0, 0, 0, 4, 176]);
        message.extend(b"\x03lan\x04test\x00\x01a\x00\x00\x00\x00\x00");
        message
    }

    #[test]
    fn servers_and_domains_are_found_among_other_options() {
        let names = parse(&advertisement()).expect("it says something");
        assert_eq!(names.servers, ["fd00::53".parse::<IpAddr>().expect("an address")]);
        assert_eq!(names.domains, ["lan.test", "a"]);
        assert_eq!(names.lifetime, Duration::from_secs(1200));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_survived() {
        let whole = advertisement();
        for end in 0..whole.len() {
            let _ = parse(&whole[..end]);
            for byte in [0, 1, 255] {
                let mut changed = whole.clone();
                changed[end] = byte;
                let _ = parse(&changed);
            }
        }
    }

    #[test]
    fn a_domain_that_would_break_a_file_is_dropped() {
        assert_eq!(domains(b"\x05a\nb c\x00\x01d\x00"), ["d"]);
    }
}
