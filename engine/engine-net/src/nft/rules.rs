//! Which rules a set of networks, ports and links needs. Pure.
//!
//! Everything into a bridge that does not come from that bridge is dropped,
//! unless it answers, or was redirected by a published port: this one rule per
//! network keeps networks apart and unpublished ports closed to neighbours.

use std::net::{IpAddr, Ipv4Addr};

use super::expression::Expression::{self, *};
use super::{Rules, USER_CHAIN};
use crate::Subnet;
use crate::model::{Link, Network, PublishedPort};

/// A chain of our table, with all its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) family: Family,
    pub(super) name: &'static str,
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Vec<Expression>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Ip,
    Bridge,
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) kind: &'static str,
    pub(super) number: u32,
    pub(super) priority: i32,
}

const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// The whole table.
pub(super) fn chains(rules: &Rules) -> Vec<Chain> {
    let hook = |kind, number, priority| Some(Hook { kind, number, priority });
    let ip = |name, hook, rules| Chain { family: Family::Ip, name, hook, rules };
    let jump = vec![DestinationIsLocal, Jump("publish".into())];
    vec![
        ip("publish", None, rules.ports.iter().filter_map(publish).collect()),
        ip("guard", hook("filter", PREROUTING, -300), rules.networks.iter().flat_map(guard).collect()),
        ip("prerouting", hook("nat", PREROUTING, -100), vec![jump.clone()]),
        ip("output", hook("nat", OUTPUT, -100), vec![jump]),
        ip(
            "postrouting",
            hook("nat", POSTROUTING, 100),
            rules.networks.iter().flat_map(masquerade).collect(),
        ),
        ip("forward", hook("filter", FORWARD, 0), forward(rules)),
        Chain {
            family: Family::Bridge,
            name: "forward",
            hook: hook("filter", FORWARD, 0),
            rules: between_containers(rules),
        },
    ]
}

fn publish(port: &PublishedPort) -> Option<Vec<Expression>> {
    let mut rule = Vec::new();
    match port.host_ip {
        IpAddr::V4(ip) if ip.is_unspecified() => {}
        IpAddr::V4(ip) => rule.push(Destination(ip)),
        // An unspecified v6 address stands for both families; others are not ours.
        IpAddr::V6(ip) if ip.is_unspecified() => {}
        IpAddr::V6(_) => return None,
    }
    rule.extend([
        Protocol(port.protocol),
        DestinationPort(port.host_port),
        RedirectTo(port.container_ip, port.container_port),
    ]);
    Some(rule)
}

/// `route_localnet` on the bridge would let containers reach the host's
/// loopback; this takes it back.
fn guard(network: &Network) -> Vec<Vec<Expression>> {
    vec![vec![InputIs(network.bridge.clone(), true), DestinationIn(loopback(), true), Drop]]
}

fn loopback() -> Subnet {
    Subnet::new(Ipv4Addr::LOCALHOST, 8)
}

fn masquerade(network: &Network) -> Vec<Vec<Expression>> {
    let subnet = network.pool.subnet;
    let out = |yes| OutputIs(network.bridge.clone(), yes);
    let mut rules = Vec::new();
    if network.masquerade && !network.internal {
        rules.push(vec![SourceIn(subnet, true), out(false), Masquerade]);
    }
    // From the host's loopback, and from the network itself, to a published port:
    // the answer must come back through here.
    rules.push(vec![SourceIn(loopback(), true), out(true), Masquerade]);
    rules.push(vec![Redirected, SourceIn(subnet, true), out(true), Masquerade]);
    rules
}

fn forward(rules: &Rules) -> Vec<Vec<Expression>> {
    let mut chain = vec![vec![Jump(USER_CHAIN.into())]];
    for network in rules.networks.iter().filter(|network| network.internal) {
        let bridge = &network.bridge;
        chain.push(vec![InputIs(bridge.clone(), true), OutputIs(bridge.clone(), false), Drop]);
        chain.push(vec![InputIs(bridge.clone(), false), OutputIs(bridge.clone(), true), Drop]);
    }
    for network in rules.networks.iter().filter(|network| !network.internal) {
        let into = OutputIs(network.bridge.clone(), true);
        chain.push(vec![into.clone(), Established, Accept]);
        chain.push(vec![into.clone(), Redirected, Accept]);
        chain.push(vec![into, InputIs(network.bridge.clone(), false), Drop]);
    }
    chain
}

/// With icc off, containers of a bridge reach each other only by links. Such
/// traffic is bridged, so it is met in the bridge family; a network is told by
/// its addresses, as not every kernel can match a bridge's name.
fn between_containers(rules: &Rules) -> Vec<Vec<Expression>> {
    let mut chain = Vec::new();
    for network in rules.networks.iter().filter(|network| !network.icc) {
        for link in rules.links.iter().filter(|link| link.bridge == network.bridge) {
            chain.extend(linked(link));
        }
        let subnet = network.pool.subnet;
        chain.push(vec![CarriesIpv4, SourceIn(subnet, true), DestinationIn(subnet, true), Drop]);
    }
    chain
}

fn linked(link: &Link) -> [Vec<Expression>; 2] {
    let rule = |from, to, port| {
        vec![CarriesIpv4, Source(from), Destination(to), Protocol(link.protocol), port, Accept]
    };
    [rule(link.from, link.to, DestinationPort(link.port)), rule(link.to, link.from, SourcePort(link.port))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Pool, Protocol as Transport};

    fn network(bridge: &str, subnet: &str) -> Network {
        Network {
            bridge: bridge.into(),
            pool: Pool::new(subnet.parse().unwrap(), None, None),
            icc: true,
            masquerade: true,
            ..Network::default()
        }
    }

    fn find<'a>(chains: &'a [Chain], name: &str, family: Family) -> &'a Chain {
        chains.iter().find(|chain| chain.name == name && chain.family == family).unwrap()
    }

    #[test]
    fn an_internal_network_goes_nowhere() {
        let mut internal = network("br1", "10.1.0.0/16");
        internal.internal = true;
        let chains = chains(&Rules { networks: vec![internal], ..Rules::default() });
        let forward = find(&chains, "forward", Family::Ip);
        assert!(forward.rules[1..].iter().all(|rule| rule.last() == Some(&Drop)));
        let masquerades = find(&chains, "postrouting", Family::Ip).rules.iter();
        assert!(masquerades.clone().all(|rule| !rule.contains(&OutputIs("br1".into(), false))));
    }

    #[test]
    fn icc_off_leaves_links_both_ways_and_nothing_else() {
        let mut closed = network("docker0", "172.17.0.0/16");
        closed.icc = false;
        let link = Link {
            bridge: "docker0".into(),
            from: Ipv4Addr::new(172, 17, 0, 3),
            to: Ipv4Addr::new(172, 17, 0, 2),
            protocol: Transport::Tcp,
            port: 80,
        };
        let rules = Rules {
            networks: vec![closed, network("br2", "172.18.0.0/16")],
            ports: vec![],
            links: vec![link],
        };
        let bridge = chains(&rules);
        let bridge = find(&bridge, "forward", Family::Bridge);
        assert_eq!(bridge.rules.len(), 3);
        assert!(bridge.rules[0].contains(&DestinationPort(80)) && bridge.rules[1].contains(&SourcePort(80)));
        assert_eq!(bridge.rules[2].last(), Some(&Drop));
    }

    #[test]
    fn a_port_on_one_address_is_published_on_that_address() {
        let port = |ip: &str| PublishedPort {
            protocol: Transport::Udp,
            host_ip: ip.parse().unwrap(),
            host_port: 53,
            container_ip: Ipv4Addr::new(172, 17, 0, 2),
            container_port: 5353,
            bridge: "docker0".into(),
        };
        assert!(publish(&port("127.0.0.1")).unwrap().contains(&Destination(Ipv4Addr::LOCALHOST)));
        assert_eq!(publish(&port("0.0.0.0")).unwrap().len(), 3);
        assert!(publish(&port("fe80::1")).is_none());
    }
}
