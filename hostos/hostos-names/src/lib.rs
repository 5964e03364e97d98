//! Names to addresses without getaddrinfo: literals, `/etc/hosts`, then DNS over UDP.
//!
//! It asks the servers of `/etc/resolv.conf` for A and AAAA and believes the first that answers. Search
//! domains are tried in their order for names without a dot. Nothing is cached.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const A: u16 = 1;
const AAAA: u16 = 28;
const DNS_PORT: u16 = 53;
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
const TRIES: u32 = 2;

/// Every address of a host, before the deadline. Blocks.
///
/// # Errors
/// The name has no address, or nobody could be asked.
pub fn lookup(host: &str, deadline: Instant) -> io::Result<Vec<IpAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    let found = in_hosts(&std::fs::read_to_string("/etc/hosts").unwrap_or_default(), host);
    if !found.is_empty() {
        return Ok(found);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for name in candidates(&conf, host) {
        let found = ask_all(&servers(&conf), &name, deadline);
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("the name `{host}` has no address")))
}

fn in_hosts(hosts: &str, host: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
        })
        .collect()
}

fn servers(conf: &str) -> Vec<SocketAddr> {
    words_of(conf, "nameserver")
        .filter_map(|word| word.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, DNS_PORT))
        .collect()
}

fn candidates(conf: &str, host: &str) -> Vec<String> {
    let whole = host.trim_end_matches('.').to_owned();
    if host.contains('.') {
        return vec![whole];
    }
    words_of(conf, "search").map(|domain| format!("{whole}.{domain}")).chain([whole.clone()]).collect()
}

fn words_of<'c>(conf: &'c str, key: &'static str) -> impl Iterator<Item = &'c str> {
    conf.lines()
        .map(str::split_whitespace)
        .filter_map(move |mut words| (words.next() == Some(key)).then_some(words))
        .flatten()
}

fn ask_all(servers: &[SocketAddr], name: &str, deadline: Instant) -> Vec<IpAddr> {
    for _ in 0..TRIES {
        for server in servers {
            let answers = [A, AAAA].map(|kind| ask(*server, name, kind, deadline).unwrap_or_default());
            let found = answers.concat();
            if !found.is_empty() {
                return found;
            }
        }
    }
    Vec::new()
}

fn ask(server: SocketAddr, name: &str, kind: u16, deadline: Instant) -> io::Result<Vec<IpAddr>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let id = rand::random();
    socket.send(&question(id, name, kind)?)?;
    let until = deadline.min(Instant::now() + TRY_TIMEOUT);
    let mut buffer = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        if let Some(answer) = answer(&buffer[..length], id, kind) {
            return Ok(answer);
        }
    }
}

fn question(id: u16, name: &str, kind: u16) -> io::Result<Vec<u8>> {
    let mut message = Vec::with_capacity(512);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend_from_slice(&u16::to_be_bytes(word));
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no name for DNS"))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&1_u16.to_be_bytes());
    Ok(message)
}

/// The addresses of an answer, or nothing if it is not the answer to that question.
fn answer(message: &[u8], id: u16, kind: u16) -> Option<Vec<IpAddr>> {
    let word = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    if word(0)? != id || word(2)? & 0x8000 == 0 {
        return None;
    }
    let mut at = 12;
    for _ in 0..word(4)? {
        at = after_name(message, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..word(6)? {
        at = after_name(message, at)?;
        let length = usize::from(word(at + 8)?);
        let data = message.get(at + 10..at + 10 + length)?;
        if word(at)? == kind {
            match kind {
                A => found.push(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
                _ => found.push(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
            }
        }
        at += 10 + length;
    }
    Some(found)
}

fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_an_alias_gives_its_address() {
        let mut message = question(7, "a.b", A).expect("a name");
        message[2] = 0x81;
        message[7] = 2;
        message.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 14]);
        message.extend_from_slice(&[0xc0, 14, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 0, 0, 9]);
        assert_eq!(answer(&message, 7, A), Some(vec![IpAddr::from([10, 0, 0, 9])]));
        assert_eq!(answer(&message, 8, A), None);
        for end in 0..message.len() {
            let _ = answer(&message[..end], 7, A);
        }
    }

    #[test]
    fn short_names_try_the_search_domains_first() {
        let conf = "nameserver 10.0.2.3\nsearch lan example.com\n# nameserver 1.1.1.1\n";
        assert_eq!(candidates(conf, "web"), ["web.lan", "web.example.com", "web"]);
        assert_eq!(candidates(conf, "web.org."), ["web.org"]);
        assert_eq!(servers(conf), ["10.0.2.3:53".parse().expect("an address")]);
    }
}
