//! Names to addresses without getaddrinfo: literals, /etc/hosts, then DNS over UDP to the servers of
//! /etc/resolv.conf. A and AAAA only; no search domains beyond the first, no caching.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

/// Every address of `host`, IPv4 first.
///
/// # Errors
/// When nobody knows the name.
pub async fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let found = in_hosts(&hosts, host);
    if !found.is_empty() {
        return Ok(found);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    ask(&servers(&conf), host).await
}

fn in_hosts(hosts: &str, host: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let matching = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
    });
    let mut found: Vec<IpAddr> = matching.collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

fn servers(conf: &str) -> Vec<IpAddr> {
    conf.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse().ok())
        .collect()
}

async fn ask(servers: &[IpAddr], host: &str) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for server in servers {
        for kind in [A, AAAA] {
            if let Ok(Ok(answer)) = timeout(Duration::from_secs(2), query(*server, host, kind)).await {
                found.extend(answer);
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("`{host}` is not in /etc/hosts and DNS knows no address"),
    ))
}

const A: u16 = 1;
const AAAA: u16 = 28;

async fn query(server: IpAddr, host: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(SocketAddr::new(server, 53)).await?;
    let id = socket.local_addr()?.port();
    socket.send(&question(id, host, kind)).await?;
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).await?;
    answers(&buffer[..length], id, kind).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn question(id: u16, host: &str, kind: u16) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in host.trim_end_matches('.').split('.') {
        let label = &label.as_bytes()[..label.len().min(63)];
        packet.push(label.len() as u8);
        packet.extend(label);
    }
    packet.push(0);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    packet
}

/// The addresses in a reply to question `id`; nothing when the reply is malformed or for another question.
fn answers(packet: &[u8], id: u16, kind: u16) -> Option<Vec<IpAddr>> {
    let word = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    if word(0)? != id || word(4)? != 1 {
        return None;
    }
    let count = word(6)?;
    let mut at = skip_name(packet, 12)? + 4;
    let mut found = Vec::new();
    for _ in 0..count {
        at = skip_name(packet, at)?;
        let (this, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = packet.get(at + 10..at + 10 + length)?;
        match (this == kind, data.len()) {
            (true, 4) => found.push(<[u8; 4]>::try_from(data).ok()?.into()),
            (true, 16) => found.push(<[u8; 16]>::try_from(data).ok()?.into()),
            _ => {}
        }
        at += 10 + length;
    }
    Some(found)
}

fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
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
    fn hosts_file_is_read_ipv4_first() {
        let hosts = "::1 localhost kv\n# 9.9.9.9 kv\n10.0.0.1\tkv alias # note\n";
        assert_eq!(in_hosts(hosts, "KV"), ["10.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert!(in_hosts(hosts, "9.9.9.9").is_empty());
    }

    #[test]
    fn an_answer_with_an_alias_is_read() {
        let mut packet = question(7, "kv.example", A);
        packet[2] = 0x81;
        packet[7] = 2;
        packet.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
        assert_eq!(answers(&packet, 7, A).unwrap(), [IpAddr::from([10, 1, 2, 3])]);
        assert!(answers(&packet, 8, A).is_none());
        for cut in 0..packet.len() {
            let _ = answers(&packet[..cut], 7, A);
        }
    }
}
