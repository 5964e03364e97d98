//! Published ports: which of the host's lead to which of a container's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use engine_api::host_config::{PortBinding, PortMap};
use engine_net::Ports;
use engine_net::model::{Network, Protocol, PublishedPort};

use super::container::Record;
use super::error::{Refusal, Result};

/// Takes the host's ports a container wants, adding to `taken` as it goes.
pub(crate) fn reserve(
    ports: &Ports,
    record: &Record,
    network: &Network,
    address: Ipv4Addr,
    taken: &mut Vec<PublishedPort>,
) -> Result<()> {
    let mut all = Vec::new();
    for (port, bindings) in wanted(record) {
        let (container_port, protocol) = parse_port(&port)?;
        for binding in bindings {
            let range = parse_range(&binding.host_port)?;
            all.push((container_port, protocol, binding.host_ip, range));
        }
    }
    // Who has a choice chooses last.
    all.sort_by_key(|(.., range)| range.as_ref().is_none_or(|range| range.start() != range.end()));
    for (container_port, protocol, host_ip, range) in all {
        let host_ip = match host_ip.as_str() {
            "" => IpAddr::V4(network.host_address.unwrap_or(Ipv4Addr::UNSPECIFIED)),
            text => text.parse().map_err(|_| Refusal::bad(format!("invalid IP address: {text}")))?,
        };
        let host_port = ports.reserve(protocol, host_ip, range).map_err(|error| {
            Refusal::internal(format!(
                "driver failed programming external connectivity on endpoint {} ({}): {}",
                record.name,
                record.id,
                super::error::chain(&error)
            ))
        })?;
        taken.push(PublishedPort {
            protocol,
            host_ip,
            host_port,
            container_ip: address,
            container_port,
            bridge: network.bridge.clone(),
        });
    }
    Ok(())
}

/// What is asked for; with `-P`, also every exposed port, anywhere.
fn wanted(record: &Record) -> PortMap {
    let mut wanted = record.host.port_bindings.clone().unwrap_or_default();
    if record.host.publish_all_ports {
        for port in record.config.exposed_ports.keys() {
            let bindings = wanted.entry(port.clone()).or_default();
            if bindings.is_empty() {
                bindings.push(PortBinding::default());
            }
        }
    }
    wanted
}

pub(crate) fn parse_port(text: &str) -> Result<(u16, Protocol)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let wrong = || Refusal::bad(format!("invalid port specification: \"{text}\""));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => return Err(Refusal::bad(format!("publishing {text} is not supported: use tcp or udp"))),
        _ => return Err(wrong()),
    };
    let wrong = |_| Refusal::bad(format!("invalid port specification: \"{number}\""));
    Ok((number.parse().map_err(wrong)?, protocol))
}

/// A port that is only exposed: `80`, `80/tcp`, `80-90/udp`, of any protocol.
pub(crate) fn parse_exposed(text: &str) -> Result<(), String> {
    let number = text.split_once('/').map_or(text, |(number, _)| number);
    match parse_range(number) {
        Ok(Some(_)) => Ok(()),
        _ => Err(format!("invalid port specification: \"{number}\"")),
    }
}

/// `8080`, `8000-8010`, or nothing for any.
pub(crate) fn parse_range(text: &str) -> Result<Option<RangeInclusive<u16>>> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) if low <= high => Ok(Some(low..=high)),
        _ => Err(Refusal::bad(format!("invalid port specification: \"{text}\""))),
    }
}

/// As inspect shows them.
pub(crate) fn shown(published: &[PublishedPort]) -> PortMap {
    let mut shown: BTreeMap<String, Vec<PortBinding>> = BTreeMap::new();
    for port in published {
        let protocol = if port.protocol == Protocol::Tcp { "tcp" } else { "udp" };
        shown
            .entry(format!("{}/{protocol}", port.container_port))
            .or_default()
            .push(PortBinding { host_ip: port.host_ip.to_string(), host_port: port.host_port.to_string() });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges() {
        assert_eq!(parse_port("80/udp").unwrap(), (80, Protocol::Udp));
        assert_eq!(parse_port("80").unwrap(), (80, Protocol::Tcp));
        assert!(parse_port("x").is_err() && parse_port("80/foo").is_err());
        assert_eq!(parse_range("80-90").unwrap(), Some(80..=90));
        assert_eq!(parse_range("").unwrap(), None);
        assert!(parse_range("90-80").is_err());
    }
}
