//! Host names to addresses without the C library: `/etc/hosts`, then the servers of `/etc/resolv.conf` over UDP.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);
const A: u16 = 1;
const AAAA: u16 = 28;

/// The resolver of the registry client.
pub(super) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = lookup(name.as_str()).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

async fn lookup(name: &str) -> io::Result<Vec<IpAddr>> {
    let name = name.trim_end_matches('.');
    if let Ok(address) = name.trim_matches(['[', ']']).parse() {
        return Ok(vec![address]);
    }
    if name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost") {
        return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let listed = in_hosts(&hosts, name);
    if !listed.is_empty() {
        return Ok(listed);
    }
    let (servers, search) = servers(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let short = (!name.contains('.')).then_some(search).into_iter().flatten();
    let candidates = short.map(|domain| format!("{name}.{domain}")).chain([name.to_owned()]);
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("lookup {name}: no name server answered"));
    for candidate in candidates {
        for server in &servers {
            match ask(*server, &candidate).await {
                Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
                Ok(_) => {
                    last = io::Error::new(io::ErrorKind::NotFound, format!("lookup {name}: no such host"))
                }
                Err(error) => {
                    last = io::Error::new(error.kind(), format!("lookup {name} on {server}: {error}"))
                }
            }
        }
    }
    Err(last)
}

fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned);
        let address: IpAddr = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    hosts.lines().filter_map(line).collect()
}

fn servers(config: &str) -> (Vec<SocketAddr>, Vec<String>) {
    let mut servers = Vec::new();
    let mut search = Vec::new();
    for line in config.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
                servers.extend(address.map(|address| SocketAddr::new(address, 53)));
            }
            Some("search" | "domain") => search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    if servers.is_empty() {
        servers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53));
    }
    (servers, search)
}

/// Both families at once; one that fails does not spoil the other.
async fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    let (four, six) = tokio::join!(ask_kind(server, name, A), ask_kind(server, name, AAAA));
    match (four, six) {
        (Ok(mut four), Ok(six)) => {
            four.extend(six);
            Ok(four)
        }
        (Ok(addresses), Err(_)) | (Err(_), Ok(addresses)) => Ok(addresses),
        (Err(error), Err(_)) => Err(error),
    }
}

async fn ask_kind(server: SocketAddr, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let local = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let local: SocketAddr = local.parse().map_err(io::Error::other)?;
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    let mut random = [0; 2];
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
    let query = query(u16::from_be_bytes(random), name, kind)?;
    for _ in 0..2 {
        socket.send(&query).await?;
        let mut buffer = [0; 1500];
        match timeout(PATIENCE, socket.recv(&mut buffer)).await {
            Ok(received) => {
                let answer = &buffer[..received?];
                if answer.get(..2) == Some(&random[..]) {
                    return answers(answer, kind);
                }
            }
            Err(_) => continue,
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))
}

fn query(id: u16, name: &str, kind: u16) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(64);
    message.extend(id.to_be_bytes());
    // Recursion desired; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        message.push(length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no such host"))?);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(1u16.to_be_bytes());
    Ok(message)
}

fn answers(message: &[u8], kind: u16) -> io::Result<Vec<IpAddr>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "a name server's answer cannot be read");
    let number = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    match message.get(3).ok_or_else(bad)? & 0xf {
        0 | 3 => {}
        code => return Err(io::Error::other(format!("the name server refused (code {code})"))),
    }
    let (questions, count) = (number(4).ok_or_else(bad)?, number(6).ok_or_else(bad)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(message, at).ok_or_else(bad)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..count {
        at = skip_name(message, at).ok_or_else(bad)?;
        let (found, length) = (number(at).ok_or_else(bad)?, number(at + 8).ok_or_else(bad)?);
        let data = message.get(at + 10..at + 10 + usize::from(length)).ok_or_else(bad)?;
        at += 10 + usize::from(length);
        if found != kind {
            continue;
        }
        if let Ok(four) = <[u8; 4]>::try_from(data) {
            addresses.push(IpAddr::from(four));
        } else if let Ok(six) = <[u8; 16]>::try_from(data) {
            addresses.push(IpAddr::from(six));
        }
    }
    Ok(addresses)
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        assert_eq!(in_hosts("127.0.0.1 a b # c\n::1 c\n", "B"), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        let (servers, search) = servers("# x\nnameserver 1.2.3.4\nsearch a.b c\nnameserver fe80::1%eth0\n");
        assert_eq!((servers.len(), search.len()), (2, 2));
    }

    #[test]
    fn answers_are_read() {
        let mut message = query(7, "a.example", A).expect("fine");
        message[7] = 2;
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1]);
        assert_eq!(answers(&message, A).expect("fine"), [IpAddr::from([10, 0, 0, 1])]);
        assert!(answers(&message[..20], A).is_err());
    }
}
