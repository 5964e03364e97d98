//! `ip route`: where packets go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RoutePreference,
    RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};
use serde::Serialize;

use crate::IpError;
use crate::call::{Call, Family, Form};
use crate::links::{Link, name_of};
use crate::words;

#[derive(Default, Serialize)]
struct Route {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    dst: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefsrc: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<u32>,
    flags: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pref: Option<&'static str>,
}

pub(crate) async fn show(call: &Call, handle: &Handle, links: &[Link]) -> Result<String, IpError> {
    let mut routes = Vec::new();
    if let Some(address) = call.get {
        routes.extend(get(handle, address).await?.iter().map(|message| read(message, links, call)));
    } else {
        // Without a family, iproute2 means IPv4.
        let family = call.family.unwrap_or(Family::Four);
        let index =
            call.dev.as_ref().and_then(|dev| links.iter().find(|link| link.name == *dev)).map(|it| it.index);
        for message in all(handle, family).await? {
            if is_wanted(call, &message, index) {
                routes.push(read(&message, links, call));
            }
        }
        if let Some(to) = &call.to {
            let plain = |text: &str| {
                if text == "0.0.0.0/0" || text == "::/0" { "default".into() } else { text.to_owned() }
            };
            routes.retain(|route| route.dst == plain(to) || format!("{}/32", route.dst) == *to);
        }
    }
    if matches!(call.form, Form::Json | Form::BriefJson) {
        return Ok(words::json(&routes));
    }
    let end = if call.form == Form::OneLine { "\\" } else { "\n" };
    Ok(routes.iter().map(|route| route.line(end, call.get.is_some())).collect())
}

async fn all(handle: &Handle, family: Family) -> Result<Vec<RouteMessage>, IpError> {
    let mut request = match family {
        Family::Four => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        Family::Six => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    // The builder's defaults are for new routes; a question must leave them open.
    request.header = RouteHeader { address_family: request.header.address_family, ..RouteHeader::default() };
    handle.route().get(request).execute().try_collect().await.map_err(IpError::Kernel)
}

async fn get(handle: &Handle, address: IpAddr) -> Result<Vec<RouteMessage>, IpError> {
    let mut request = match address {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, 32).build(),
        IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, 128).build(),
    };
    request.header = RouteHeader {
        address_family: request.header.address_family,
        destination_prefix_length: request.header.destination_prefix_length,
        ..RouteHeader::default()
    };
    handle.route().get(request).execute().try_collect().await.map_err(IpError::Kernel)
}

fn table(message: &RouteMessage) -> u32 {
    let attribute = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    attribute.unwrap_or(u32::from(message.header.table))
}

fn is_wanted(call: &Call, message: &RouteMessage, dev: Option<u32>) -> bool {
    let through = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    let in_table = call.table == 0 || table(message) == call.table;
    in_table
        && dev.is_none_or(|dev| through == Some(dev))
        && !message.header.flags.contains(RouteFlags::Cloned)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn read(message: &RouteMessage, links: &[Link], call: &Call) -> Route {
    let header = &message.header;
    let v4 = header.address_family == AddressFamily::Inet;
    let mut route = Route {
        kind: kind(header.kind),
        dst: "default".to_owned(),
        // What an administrator set by hand is not worth a word.
        protocol: (call.get.is_none() && header.protocol != RouteProtocol::Boot)
            .then(|| protocol(header.protocol)),
        scope: (v4 && call.get.is_none()).then(|| scope(header.scope)).flatten(),
        flags: flags(header.flags),
        cache: call.get.map(|_| Vec::new()),
        ..Route::default()
    };
    let number = table(message);
    if call.table == 0 && number != 254 {
        route.table = Some(if number == 255 { "local".to_owned() } else { number.to_string() });
    }
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                if let Some(ip) = ip(address) {
                    let whole = if v4 { 32 } else { 128 };
                    let bits = header.destination_prefix_length;
                    route.dst = if bits == whole { ip.to_string() } else { format!("{ip}/{bits}") };
                }
            }
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::PrefSource(address) => route.prefsrc = ip(address),
            RouteAttribute::Oif(index) => route.dev = Some(name_of(links, *index)),
            RouteAttribute::Priority(metric) => route.metric = Some(*metric),
            RouteAttribute::Uid(uid) if call.get.is_some() => route.uid = Some(*uid),
            RouteAttribute::Metrics(list) => route.metrics.extend(metrics(list)),
            RouteAttribute::CacheInfo(info) if !v4 && info.expires != 0 => {
                route.expires = Some(info.expires / 100);
            }
            RouteAttribute::Preference(preference) => {
                route.pref = match preference {
                    RoutePreference::Low => Some("low"),
                    RoutePreference::Medium => Some("medium"),
                    RoutePreference::High => Some("high"),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    route
}

fn metrics(list: &[RouteMetric]) -> Option<serde_json::Map<String, serde_json::Value>> {
    let known = list.iter().filter_map(|metric| match metric {
        RouteMetric::Mtu(value) => Some(("mtu".to_owned(), (*value).into())),
        RouteMetric::Advmss(value) => Some(("advmss".to_owned(), (*value).into())),
        RouteMetric::Hoplimit(value) => Some(("hoplimit".to_owned(), (*value).into())),
        _ => None,
    });
    let known: serde_json::Map<_, _> = known.collect();
    (!known.is_empty()).then_some(known)
}

fn kind(kind: RouteType) -> Option<&'static str> {
    match kind {
        RouteType::Local => Some("local"),
        RouteType::Broadcast => Some("broadcast"),
        RouteType::Anycast => Some("anycast"),
        RouteType::Multicast => Some("multicast"),
        RouteType::BlackHole => Some("blackhole"),
        RouteType::Unreachable => Some("unreachable"),
        RouteType::Prohibit => Some("prohibit"),
        RouteType::Throw => Some("throw"),
        _ => None,
    }
}

fn protocol(protocol: RouteProtocol) -> String {
    match protocol {
        RouteProtocol::IcmpRedirect => "redirect".to_owned(),
        RouteProtocol::Dhcp => "dhcp".to_owned(),
        RouteProtocol::Other(number) => number.to_string(),
        other => other.to_string(),
    }
}

fn scope(scope: RouteScope) -> Option<String> {
    match scope {
        RouteScope::Universe => None,
        RouteScope::Site => Some("site".to_owned()),
        RouteScope::Link => Some("link".to_owned()),
        RouteScope::Host => Some("host".to_owned()),
        RouteScope::NoWhere => Some("nowhere".to_owned()),
        RouteScope::Other(number) => Some(number.to_string()),
        _ => None,
    }
}

fn flags(flags: RouteFlags) -> Vec<&'static str> {
    let names = [
        (RouteFlags::Dead, "dead"),
        (RouteFlags::Onlink, "onlink"),
        (RouteFlags::Pervasive, "pervasive"),
        (RouteFlags::Linkdown, "linkdown"),
        (RouteFlags::Unresolved, "unresolved"),
    ];
    names.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name).collect()
}

impl Route {
    fn line(&self, end: &str, got: bool) -> String {
        let mut text = self.kind.map_or(String::new(), |kind| format!("{kind} "));
        text.push_str(&format!("{} ", self.dst));
        let mut word = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("{name} {value} "));
            }
        };
        word("via", self.gateway.map(|gateway| gateway.to_string()));
        word("dev", self.dev.clone());
        word("table", self.table.clone());
        word("proto", self.protocol.clone());
        word("scope", self.scope.clone());
        word("src", self.prefsrc.map(|source| source.to_string()));
        word("metric", self.metric.map(|metric| metric.to_string()));
        for flag in &self.flags {
            text.push_str(&format!("{flag} "));
        }
        let mut word = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("{name} {value} "));
            }
        };
        word("uid", self.uid.map(|uid| uid.to_string()));
        if !got {
            word("expires", self.expires.map(|seconds| format!("{seconds}sec")));
        }
        for (name, value) in self.metrics.iter().flatten() {
            text.push_str(&format!("{name} {value} "));
        }
        if let Some(preference) = self.pref {
            text.push_str(&format!("pref {preference}"));
        }
        // Only routes of IPv4 come out of a cache.
        if got && self.pref.is_none() {
            text.push_str(&format!("{end}    cache "));
        }
        text + "\n"
    }
}
