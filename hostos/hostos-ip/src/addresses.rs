//! `ip addr`: the addresses of the interfaces.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use serde::Serialize;

use crate::IpError;
use crate::call::{Call, Family, Form};
use crate::links::{Link, LinkJson};
use crate::words;

const FOREVER: u32 = u32::MAX;

struct Address {
    link: u32,
    address: IpAddr,
    /// The other end of a point-to-point link.
    peer: Option<IpAddr>,
    prefix: u8,
    broadcast: Option<Ipv4Addr>,
    scope: String,
    flags: AddressFlags,
    label: Option<String>,
    metric: Option<u32>,
    valid: u32,
    preferred: u32,
}

#[derive(Serialize)]
struct AddressJson {
    family: &'static str,
    local: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    prefixlen: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broadcast: Option<Ipv4Addr>,
    scope: String,
    #[serde(flatten)]
    flags: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    valid_life_time: u32,
    preferred_life_time: u32,
}

#[derive(Serialize)]
struct LinkAddresses {
    #[serde(flatten)]
    link: LinkJson,
    addr_info: Vec<AddressJson>,
}

#[derive(Serialize)]
struct Brief {
    ifname: String,
    operstate: &'static str,
    addr_info: Vec<BriefAddress>,
}

#[derive(Serialize)]
struct BriefAddress {
    local: IpAddr,
    prefixlen: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<u32>,
}

pub(crate) async fn show(call: &Call, handle: &Handle, links: &[Link]) -> Result<String, IpError> {
    let messages: Vec<_> = handle.address().get().execute().try_collect().await.map_err(IpError::Kernel)?;
    let addresses: Vec<Address> =
        messages.into_iter().filter_map(read).filter(|it| it.is_wanted(call)).collect();
    let of = |link: &Link| {
        let mut found: Vec<&Address> =
            addresses.iter().filter(|address| address.link == link.index).collect();
        found.sort_by_key(|address| address.address.is_ipv6());
        found
    };
    // Without an address of the family that is asked for, a link is not shown.
    let filtered = call.family.is_some() || call.scope.is_some();
    let wanted: Vec<&Link> =
        links.iter().filter(|link| link.is_wanted(call) && (!filtered || !of(link).is_empty())).collect();
    Ok(match call.form {
        Form::Json => words::json(
            &wanted
                .iter()
                .map(|link| LinkAddresses {
                    link: link.json(links, false, call.family.is_none()),
                    addr_info: of(link).into_iter().map(Address::json).collect(),
                })
                .collect::<Vec<_>>(),
        ),
        Form::BriefJson => words::json(
            &wanted
                .iter()
                .map(|link| Brief {
                    ifname: link.name.clone(),
                    operstate: link.state(),
                    addr_info: of(link).into_iter().map(Address::brief).collect(),
                })
                .collect::<Vec<_>>(),
        ),
        Form::Brief => wanted
            .iter()
            .map(|link| {
                let list: String = of(link).iter().map(|address| address.short()).collect();
                format!("{}{list}\n", link.brief(links))
            })
            .collect(),
        Form::OneLine => wanted
            .iter()
            .flat_map(|link| {
                let name = &link.name;
                of(link)
                    .into_iter()
                    .map(|address| {
                        format!("{}: {name}    {}\n", link.index, address.lines("\\ ").trim_start())
                    })
                    .collect::<Vec<_>>()
            })
            .collect(),
        Form::Text => wanted
            .iter()
            .map(|link| {
                let mut text = format!("{}\n", link.headline(links, false));
                if call.family.is_none() {
                    text.push_str(&format!("{}\n", link.hardware_line()));
                }
                text.extend(of(link).iter().map(|address| format!("{}\n", address.lines("\n "))));
                text
            })
            .collect(),
    })
}

fn read(message: AddressMessage) -> Option<Address> {
    let (mut local, mut other) = (None, None);
    let mut address = Address {
        link: message.header.index,
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        peer: None,
        prefix: message.header.prefix_len,
        broadcast: None,
        scope: scope(message.header.scope),
        flags: AddressFlags::from_bits_retain(u32::from(message.header.flags.bits())),
        label: None,
        metric: None,
        valid: FOREVER,
        preferred: FOREVER,
    };
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Address(ip) => other = Some(ip),
            AddressAttribute::Broadcast(ip) => address.broadcast = Some(ip),
            AddressAttribute::Label(label) => address.label = Some(label),
            AddressAttribute::Flags(flags) => address.flags = flags,
            AddressAttribute::RoutePriority(metric) => {
                address.metric = Some(metric).filter(|metric| *metric > 0)
            }
            AddressAttribute::CacheInfo(info) => {
                (address.valid, address.preferred) = (info.ifa_valid, info.ifa_preferred);
            }
            _ => {}
        }
    }
    address.address = local.or(other)?;
    address.peer = other.filter(|other| *other != address.address);
    Some(address)
}

fn scope(scope: AddressScope) -> String {
    match scope {
        AddressScope::Universe => "global".to_owned(),
        AddressScope::Site => "site".to_owned(),
        AddressScope::Link => "link".to_owned(),
        AddressScope::Host => "host".to_owned(),
        AddressScope::Nowhere => "nowhere".to_owned(),
        AddressScope::Other(number) => number.to_string(),
        _ => "unknown".to_owned(),
    }
}

impl Address {
    fn is_wanted(&self, call: &Call) -> bool {
        let family = if self.address.is_ipv4() { Family::Four } else { Family::Six };
        call.takes(family) && call.scope.as_ref().is_none_or(|scope| *scope == self.scope)
    }

    fn family(&self) -> &'static str {
        if self.address.is_ipv4() { "inet" } else { "inet6" }
    }

    /// Words of its flags, in iproute2's order.
    fn words(&self) -> Vec<&'static str> {
        let secondary = if self.address.is_ipv4() { "secondary" } else { "temporary" };
        let names = [
            (AddressFlags::Secondary, secondary),
            (AddressFlags::Tentative, "tentative"),
            (AddressFlags::Deprecated, "deprecated"),
            (AddressFlags::Homeaddress, "home"),
            (AddressFlags::Nodad, "nodad"),
            (AddressFlags::Dadfailed, "dadfailed"),
            (AddressFlags::Optimistic, "optimistic"),
            (AddressFlags::Managetempaddr, "mngtmpaddr"),
            (AddressFlags::Noprefixroute, "noprefixroute"),
            (AddressFlags::Mcautojoin, "autojoin"),
            (AddressFlags::StablePrivacy, "stable-privacy"),
        ];
        let mut words: Vec<&'static str> =
            names.into_iter().filter(|(flag, _)| self.flags.contains(*flag)).map(|(_, name)| name).collect();
        if !self.flags.contains(AddressFlags::Permanent) {
            // It stands where the flag would.
            let at = names.iter().take(7).filter(|(flag, _)| self.flags.contains(*flag)).count();
            words.insert(at.min(words.len()), "dynamic");
        }
        words
    }

    /// Both lines, with `end` between them.
    fn lines(&self, end: &str) -> String {
        let mut text = format!("    {} {}", self.family(), self.address);
        if let Some(peer) = self.peer {
            text.push_str(&format!(" peer {peer}"));
        }
        text.push_str(&format!("/{} ", self.prefix));
        if let Some(metric) = self.metric {
            text.push_str(&format!("metric {metric} "));
        }
        if let Some(broadcast) = self.broadcast {
            text.push_str(&format!("brd {broadcast} "));
        }
        text.push_str(&format!("scope {} ", self.scope));
        for word in self.words() {
            text.push_str(word);
            text.push(' ');
        }
        text.push_str(self.label.as_deref().unwrap_or_default());
        let end = format!("{end}      valid_lft {} preferred_lft {}", life(self.valid), life(self.preferred));
        text + &end
    }

    fn short(&self) -> String {
        let peer = self.peer.map_or(String::new(), |peer| format!(" peer {peer}"));
        let metric = self.metric.map_or(String::new(), |metric| format!("metric {metric} "));
        format!("{}{peer}/{} {metric}", self.address, self.prefix)
    }

    fn brief(&self) -> BriefAddress {
        BriefAddress { local: self.address, prefixlen: self.prefix, metric: self.metric }
    }

    fn json(&self) -> AddressJson {
        AddressJson {
            family: self.family(),
            local: self.address,
            address: self.peer,
            prefixlen: self.prefix,
            metric: self.metric,
            broadcast: self.broadcast,
            scope: self.scope.clone(),
            flags: self.words().into_iter().map(|word| (word.to_owned(), true.into())).collect(),
            label: self.label.clone(),
            valid_life_time: self.valid,
            preferred_life_time: self.preferred,
        }
    }
}

fn life(seconds: u32) -> String {
    if seconds == FOREVER { "forever".to_owned() } else { format!("{seconds}sec") }
}
