//! The names a container can ask for, and those it knows by its links.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};

use engine_net::model::Link;
use engine_net::{Names, Reverse, Rules};

use super::Daemon;
use super::container::{Container, Record};
use super::{names, publish};

/// What one container may ask.
pub(crate) struct ContainerNames {
    daemon: Weak<Daemon>,
    container: Weak<Container>,
    upstreams: Vec<IpAddr>,
}

impl ContainerNames {
    pub(crate) fn new(daemon: &Arc<Daemon>, container: &Arc<Container>) -> ContainerNames {
        let record = container.record().clone();
        let internal = record.networks.keys().all(|n| daemon.networks.find(n).is_ok_and(|n| n.internal));
        let upstreams = if internal { Vec::new() } else { daemon.resolver(&record).servers };
        ContainerNames { daemon: Arc::downgrade(daemon), container: Arc::downgrade(container), upstreams }
    }

    /// The networks whose members this container may ask for: those that users made.
    fn networks(&self, daemon: &Daemon) -> Vec<String> {
        let Some(container) = self.container.upgrade() else { return Vec::new() };
        let record = container.record();
        let own = record.endpoints.iter().map(|e| e.network.clone());
        let own: Vec<String> = own.collect();
        drop(record);
        own.into_iter()
            .filter(|id| daemon.networks.all().get(id).is_some_and(|n| n.net.embedded_dns))
            .collect()
    }
}

impl Names for ContainerNames {
    fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        let daemon = self.daemon.upgrade()?;
        let name = name.trim_end_matches('.');
        let own = self.networks(&daemon);
        // A link of this container on a user's network: an alias only it knows.
        let linked = self.container.upgrade().and_then(|c| {
            let record = c.record();
            let links = record.networks.values().flat_map(|s| s.links.iter().flatten());
            links
                .filter_map(|l| l.split_once(':'))
                .find(|(_, alias)| *alias == name)
                .map(|(target, _)| target.to_owned())
        });
        let wanted = linked.as_deref().unwrap_or(name);
        let mut found = Vec::new();
        for other in daemon.containers.all() {
            let record = other.record();
            for endpoint in record.endpoints.iter().filter(|e| own.contains(&e.network)) {
                if answers_to(&record, &endpoint.network, wanted) {
                    found.extend(endpoint.address);
                }
            }
        }
        (!found.is_empty()).then_some(found)
    }

    fn name_of(&self, address: Ipv4Addr) -> Reverse {
        let Some(daemon) = self.daemon.upgrade() else { return Reverse::Foreign };
        let own = self.networks(&daemon);
        for other in daemon.containers.all() {
            let record = other.record();
            let hit =
                record.endpoints.iter().find(|e| e.address == Some(address) && own.contains(&e.network));
            if let Some(endpoint) = hit {
                let network = daemon.networks.find(&endpoint.network).map(|n| n.name).unwrap_or_default();
                return Reverse::Name(format!("{}.{network}", record.name));
            }
        }
        let ours = daemon
            .networks
            .all()
            .values()
            .any(|n| own.contains(&n.id) && n.net.pool.subnet.contains(address));
        if ours { Reverse::Nobody } else { Reverse::Foreign }
    }

    fn upstreams(&self) -> Vec<IpAddr> {
        self.upstreams.clone()
    }
}

fn answers_to(record: &Record, network: &str, name: &str) -> bool {
    let same = |other: &str| other.eq_ignore_ascii_case(name);
    let aliases =
        record.networks.values().filter(|s| s.network_id == network).flat_map(|s| s.aliases.iter().flatten());
    let mut aliases = aliases.map(String::as_str);
    let own = [record.name.as_str(), names::short(&record.id), &record.config.hostname];
    own.into_iter().any(same) || aliases.any(same)
}

impl Daemon {
    /// The firewall as all networks and running containers want it.
    pub(crate) fn firewall_rules(&self) -> Rules {
        let networks: Vec<_> = self
            .networks
            .all()
            .values()
            .filter(|n| n.is_bridge())
            .map(|n| {
                let mut net = n.net.clone();
                // Who has which address is nothing to the firewall; without it the rules stay the same.
                net.pool.taken.clear();
                net.pool.last = None;
                net
            })
            .collect();
        let mut rules = Rules { networks, ..Rules::default() };
        for container in self.containers.all() {
            let record = container.record().clone();
            rules.ports.extend(record.published.iter().cloned());
            if record.host.links.as_ref().is_none_or(Vec::is_empty) {
                continue;
            }
            let Some(own) = record.endpoints.iter().find_map(|e| e.address) else { continue };
            for link in self.links(&record) {
                for port in link.target.config.exposed_ports.keys() {
                    let Ok((port, protocol)) = publish::parse_port(port) else { continue };
                    let bridge = self.networks.find("bridge").map(|n| n.net.bridge).unwrap_or_default();
                    rules.links.push(Link { bridge, from: own, to: link.address, protocol, port });
                }
            }
        }
        rules
    }
}
