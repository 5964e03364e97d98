//! DHCP packets as values. Pure: no socket, no clock.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::Lease;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const FIXED: usize = 236;
/// RFC 2131 servers may drop what is shorter than a BOOTP packet.
const SHORTEST: usize = 300;

const OPTION_MASK: u8 = 1;
const OPTION_ROUTER: u8 = 3;
const OPTION_DNS: u8 = 6;
const OPTION_HOSTNAME: u8 = 12;
const OPTION_DOMAIN: u8 = 15;
const OPTION_MTU: u8 = 26;
const OPTION_NTP: u8 = 42;
const OPTION_ADDRESS: u8 = 50;
const OPTION_DURATION: u8 = 51;
const OPTION_KIND: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_WANTED: u8 = 55;
const OPTION_MAX_SIZE: u8 = 57;
const OPTION_RENEW: u8 = 58;
const OPTION_REBIND: u8 = 59;
const OPTION_CLIENT: u8 = 61;

/// Message types of option 53 that a client meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who has an address for me?
    Discover,
    /// I have this one.
    Offer,
    /// I want that one.
    Request,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Ack => 5,
            Self::Nak => 6,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Discover, Self::Offer, Self::Request, Self::Ack, Self::Nak]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// What the client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    kind: Kind,
    /// Answers repeat it.
    pub transaction: u32,
    /// Hardware address, 6 bytes of Ethernet.
    pub mac: Vec<u8>,
    current: Ipv4Addr,
    wanted: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    name: Option<String>,
}

impl Request {
    /// Asks everyone for an address.
    #[must_use]
    pub fn discover(mac: &[u8]) -> Self {
        Self::new(Kind::Discover, mac)
    }

    /// Takes what `server` offered.
    #[must_use]
    pub fn select(mac: &[u8], transaction: u32, address: Ipv4Addr, server: Ipv4Addr) -> Self {
        let plain = Self::new(Kind::Request, mac);
        Self { transaction, wanted: Some(address), server: Some(server), ..plain }
    }

    /// Asks everyone whether an address known from before may be used again.
    #[must_use]
    pub fn reboot(mac: &[u8], address: Ipv4Addr) -> Self {
        Self { wanted: Some(address), ..Self::new(Kind::Request, mac) }
    }

    /// Asks `server` for more time.
    #[must_use]
    pub fn renew(mac: &[u8], address: Ipv4Addr, server: Ipv4Addr) -> Self {
        Self { current: address, server: Some(server), ..Self::new(Kind::Request, mac) }
    }

    fn new(kind: Kind, mac: &[u8]) -> Self {
        Self {
            kind,
            transaction: rand::random(),
            mac: mac.to_vec(),
            current: Ipv4Addr::UNSPECIFIED,
            wanted: None,
            server: None,
            name: None,
        }
    }

    /// Tells the server what the machine is called.
    #[must_use]
    pub fn named(mut self, name: Option<&str>) -> Self {
        // Longer ones would not fit an option.
        self.name = name.filter(|name| (1..=255).contains(&name.len())).map(ToOwned::to_owned);
        self
    }

    /// Where to send it: to the server while renewing, else to everyone.
    #[must_use]
    pub fn to(&self) -> Ipv4Addr {
        match self.server {
            Some(server) if self.renewing() => server,
            _ => Ipv4Addr::BROADCAST,
        }
    }

    /// The kind of a good answer.
    #[must_use]
    pub fn wants(&self) -> Kind {
        if self.kind == Kind::Discover { Kind::Offer } else { Kind::Ack }
    }

    fn renewing(&self) -> bool {
        !self.current.is_unspecified()
    }

    /// The packet, sent `since` after the first try.
    #[must_use]
    pub fn encode(&self, since: Duration) -> Vec<u8> {
        let seconds = u16::try_from(since.as_secs()).unwrap_or(u16::MAX);
        // Without an address, answers must be broadcast: a plain socket hears nothing else.
        let flags: u16 = if self.renewing() { 0 } else { 0x8000 };
        let mut packet = vec![1, 1, 6, 0];
        packet.extend(self.transaction.to_be_bytes());
        packet.extend(seconds.to_be_bytes());
        packet.extend(flags.to_be_bytes());
        packet.extend(self.current.octets());
        packet.resize(28, 0);
        packet.extend(self.mac.iter().take(16));
        packet.resize(FIXED, 0);
        packet.extend(COOKIE);
        put(&mut packet, OPTION_KIND, &[self.kind.code()]);
        let mut client = vec![1];
        client.extend(&self.mac);
        put(&mut packet, OPTION_CLIENT, &client);
        put(&mut packet, OPTION_MAX_SIZE, &1472u16.to_be_bytes());
        if let Some(address) = self.wanted {
            put(&mut packet, OPTION_ADDRESS, &address.octets());
        }
        // RFC 2131 4.3.2: a client that renews names the server by writing to it.
        if let Some(server) = self.server.filter(|_| !self.renewing()) {
            put(&mut packet, OPTION_SERVER, &server.octets());
        }
        if let Some(name) = &self.name {
            put(&mut packet, OPTION_HOSTNAME, name.as_bytes());
        }
        let wanted = [
            OPTION_MASK,
            OPTION_ROUTER,
            OPTION_DNS,
            OPTION_HOSTNAME,
            OPTION_DOMAIN,
            OPTION_MTU,
            OPTION_NTP,
            OPTION_DURATION,
            OPTION_RENEW,
            OPTION_REBIND,
        ];
        put(&mut packet, OPTION_WANTED, &wanted);
        packet.push(255);
        packet.resize(packet.len().max(SHORTEST), 0);
        packet
    }
}

fn put(packet: &mut Vec<u8>, option: u8, value: &[u8]) {
    packet.push(option);
    packet.push(u8::try_from(value.len()).expect("an option of ours is short"));
    packet.extend(value);
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub kind: Kind,
    /// Of the request it answers.
    pub transaction: u32,
    /// Whom it answers.
    pub mac: Vec<u8>,
    /// The address offered or granted.
    pub address: Ipv4Addr,
    /// Who answers.
    pub server: Option<Ipv4Addr>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Message {
    /// The answer in `packet`; nothing if it is none.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<Self> {
        if packet.first() != Some(&2) || packet.get(FIXED..FIXED + 4)? != COOKIE {
            return None;
        }
        let length = usize::from(*packet.get(2)?).min(16);
        let options = options(&packet[FIXED + 4..]);
        let find = |code: u8| options.iter().find(|(option, _)| *option == code).map(|(_, value)| value);
        Some(Self {
            kind: Kind::from_code(*find(OPTION_KIND)?.first()?)?,
            transaction: u32::from_be_bytes(packet.get(4..8)?.try_into().ok()?),
            mac: packet.get(28..28 + length)?.to_vec(),
            address: address(packet.get(16..20)?)?,
            server: find(OPTION_SERVER).and_then(|value| address(value)),
            options: options.clone(),
        })
    }

    /// The lease that an acknowledgement grants.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        if self.address.is_unspecified() {
            return None;
        }
        let duration = self.seconds(OPTION_DURATION).unwrap_or(Duration::from_secs(3600));
        Some(Lease {
            address: self.address,
            prefix: self.prefix(),
            router: self.addresses(OPTION_ROUTER).first().copied(),
            dns: self.addresses(OPTION_DNS),
            domain: self.text(OPTION_DOMAIN),
            hostname: self.text(OPTION_HOSTNAME),
            ntp: self.addresses(OPTION_NTP),
            mtu: self.option(OPTION_MTU).and_then(|bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?))),
            server: self.server?,
            granted: 0,
            duration,
            renew_after: self.seconds(OPTION_RENEW).unwrap_or(duration / 2).min(duration),
            rebind_after: self.seconds(OPTION_REBIND).unwrap_or(duration / 8 * 7).min(duration),
        })
    }

    fn prefix(&self) -> u8 {
        let mask = self.addresses(OPTION_MASK).first().map(|mask| u32::from(*mask));
        let class = match self.address.octets()[0] {
            0..128 => 8,
            128..192 => 16,
            _ => 24,
        };
        mask.map_or(class, |mask| u8::try_from(mask.leading_ones()).expect("at most 32"))
    }

    fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(option, _)| *option == code).map(|(_, value)| value.as_slice())
    }

    fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        self.option(code).unwrap_or_default().chunks_exact(4).filter_map(address).collect()
    }

    fn seconds(&self, code: u8) -> Option<Duration> {
        let bytes = self.option(code)?.try_into().ok()?;
        Some(Duration::from_secs(u64::from(u32::from_be_bytes(bytes))))
    }

    /// A name of a server's, only if it is harmless in a file of ours.
    fn text(&self, code: u8) -> Option<String> {
        let text = std::str::from_utf8(self.option(code)?).ok()?.trim_end_matches('\0');
        let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        (!text.is_empty() && text.len() < 254 && text.chars().all(harmless)).then(|| text.to_owned())
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?))
}

/// The options up to the end mark; what is cut short is left out.
fn options(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [code, rest @ ..] = bytes {
        match code {
            0 => bytes = rest,
            255 => break,
            code => {
                let [length, rest @ ..] = rest else { break };
                let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
                found.push((*code, value.to_vec()));
                bytes = rest;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn reply(request: &Request, kind: Kind, extra: &[(u8, &[u8])]) -> Vec<u8> {
        let mut packet = vec![2, 1, 6, 0];
        packet.extend(request.transaction.to_be_bytes());
        packet.resize(16, 0);
        packet.extend([10, 0, 2, 15]);
        packet.resize(28, 0);
        packet.extend(MAC);
        packet.resize(FIXED, 0);
        packet.extend(COOKIE);
        put(&mut packet, OPTION_KIND, &[kind.code()]);
        put(&mut packet, OPTION_SERVER, &[10, 0, 2, 2]);
        for (code, value) in extra {
            put(&mut packet, *code, value);
        }
        packet.push(255);
        packet
    }

    #[test]
    fn a_grant_becomes_a_lease() {
        let request = Request::discover(&MAC);
        let packet = reply(
            &request,
            Kind::Ack,
            &[
                (OPTION_MASK, &[255, 255, 255, 0]),
                (OPTION_ROUTER, &[10, 0, 2, 2]),
                (OPTION_DNS, &[10, 0, 2, 3, 1, 1, 1, 1]),
                (OPTION_DURATION, &[0, 1, 81, 128]),
            ],
        );
        let lease = Message::decode(&packet).unwrap().lease().unwrap();
        assert_eq!(lease.address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(lease.prefix, 24);
        assert_eq!(lease.dns.len(), 2);
        assert_eq!(lease.duration, Duration::from_secs(86400));
        assert_eq!(lease.renew_after, Duration::from_secs(43200));
    }

    #[test]
    fn a_name_that_would_break_a_file_is_dropped() {
        let request = Request::discover(&MAC);
        let packet = reply(&request, Kind::Ack, &[(OPTION_DOMAIN, b"lan\nnameserver 6.6.6.6")]);
        assert_eq!(Message::decode(&packet).unwrap().lease().unwrap().domain, None);
    }

    #[test]
    fn every_cut_of_a_packet_is_survived() {
        let request = Request::discover(&MAC);
        let packet = reply(&request, Kind::Ack, &[(OPTION_DNS, &[1, 2, 3, 4])]);
        for end in 0..packet.len() {
            let _ = Message::decode(&packet[..end]).and_then(|message| message.lease());
        }
    }

    #[test]
    fn a_request_without_an_address_wants_broadcasts() {
        let packet = Request::discover(&MAC).encode(Duration::ZERO);
        assert_eq!(packet[10], 0x80);
        assert!(packet.len() >= SHORTEST);
        let renew = Request::renew(&MAC, Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2));
        assert_eq!(renew.encode(Duration::ZERO)[10], 0);
        assert_eq!(renew.to(), Ipv4Addr::new(10, 0, 2, 2));
    }
}
