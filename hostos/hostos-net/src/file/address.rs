//! `[Address]` and `[Route]`.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::Warning;
use super::sections::Setting;

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Bits.
    pub bits: u8,
}

impl FromStr for Prefix {
    type Err = ();

    /// `10.0.0.2/24`; without a length, the address alone.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.trim().parse().map_err(drop)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(whole), |bits| bits.trim().parse().map_err(drop))?;
        if bits <= whole { Ok(Self { address, bits }) } else { Err(()) }
    }
}

/// An address that a link gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticAddress {
    /// Which.
    pub prefix: Prefix,
    /// `Peer=`: the other end.
    pub peer: Option<IpAddr>,
    /// `Broadcast=`; worked out unless given.
    pub broadcast: Option<Ipv4Addr>,
}

impl StaticAddress {
    /// Only an address.
    #[must_use]
    pub fn plain(prefix: Prefix) -> Self {
        Self { prefix, peer: None, broadcast: None }
    }
}

/// A route that a link gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// Where to; nothing means everywhere.
    pub destination: Option<Prefix>,
    /// Through whom.
    pub gateway: Option<IpAddr>,
    /// Lower wins.
    pub metric: Option<u32>,
    /// The address to speak as.
    pub source: Option<IpAddr>,
    /// The gateway is on the link, whatever the addresses say.
    pub on_link: bool,
    /// Largest packet.
    pub mtu: Option<u32>,
}

impl StaticRoute {
    /// Everywhere, through `gateway`.
    #[must_use]
    pub fn default_through(gateway: IpAddr) -> Self {
        Self {
            destination: None,
            gateway: Some(gateway),
            metric: None,
            source: None,
            on_link: false,
            mtu: None,
        }
    }

    /// Whether it is one of IPv4; nothing if it says neither where to nor through whom.
    #[must_use]
    pub fn is_ipv4(&self) -> Option<bool> {
        let destination = self.destination.map(|prefix| prefix.address);
        destination.or(self.gateway).or(self.source).map(|address| address.is_ipv4())
    }
}

/// The address of an `[Address]` section, if it has one.
pub(super) fn address(settings: &[Setting], warnings: &mut Vec<Warning>) -> Option<StaticAddress> {
    let mut found: Option<Prefix> = None;
    let (mut peer, mut broadcast) = (None, None);
    for setting in settings {
        let done = match setting.key.as_str() {
            "Address" => setting
                .value
                .parse()
                .map(|prefix| found = Some(prefix))
                .map_err(|()| setting.bad("an address with its prefix, such as 10.0.0.2/24")),
            "Peer" => setting
                .value
                .parse::<Prefix>()
                .map(|prefix| peer = Some(prefix.address))
                .map_err(|()| setting.bad("an address")),
            "Broadcast" => setting
                .value
                .parse()
                .map(|address| broadcast = Some(address))
                .map_err(|_| setting.bad("an IPv4 address")),
            "Label" => Ok(()),
            _ => Err(setting.unknown("Address")),
        };
        warn(warnings, setting, done);
    }
    found.map(|prefix| StaticAddress { prefix, peer, broadcast })
}

/// The route of a `[Route]` section, if it says enough.
pub(super) fn route(settings: &[Setting], warnings: &mut Vec<Warning>) -> Option<StaticRoute> {
    let mut route = StaticRoute {
        destination: None,
        gateway: None,
        metric: None,
        source: None,
        on_link: false,
        mtu: None,
    };
    let mut bad = false;
    for setting in settings {
        let number = || setting.value.parse::<u32>().map_err(|_| setting.bad("a number"));
        let ip = || setting.value.parse::<IpAddr>().map_err(|_| setting.bad("an address"));
        let done = match setting.key.as_str() {
            "Gateway" if setting.value.starts_with("_dhcp4") || setting.value.starts_with("_ipv6ra") => {
                bad = true;
                Err(format!("Gateway={} is not understood", setting.value))
            }
            "Gateway" => ip().map(|address| route.gateway = Some(address)),
            "Destination" => {
                let parsed = setting.value.parse().map_err(|()| setting.bad("a network, such as 10.0.0.0/8"));
                parsed.map(|prefix| route.destination = Some(prefix))
            }
            "Metric" => number().map(|metric| route.metric = Some(metric)),
            "PreferredSource" => ip().map(|address| route.source = Some(address)),
            "GatewayOnLink" | "GatewayOnlink" => setting.boolean().map(|yes| route.on_link = yes),
            "MTUBytes" => {
                let bytes = unit_file::parse_size(&setting.value).and_then(|size| u32::try_from(size).ok());
                bytes.map(|bytes| route.mtu = Some(bytes)).ok_or_else(|| setting.bad("a number of bytes"))
            }
            // What it says follows from the rest.
            "Scope" => Ok(()),
            _ => Err(setting.unknown("Route")),
        };
        bad |= done.is_err() && ["Gateway", "Destination"].contains(&setting.key.as_str());
        warn(warnings, setting, done);
    }
    // Half a route would lead elsewhere than was meant.
    (!bad && route.is_ipv4().is_some()).then_some(route)
}

fn warn(warnings: &mut Vec<Warning>, setting: &Setting, done: Result<(), String>) {
    if let Err(message) = done {
        warnings.push(Warning { line: setting.line, message });
    }
}
