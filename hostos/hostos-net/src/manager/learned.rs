//! What the links have learnt of names and time, put together and written down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use super::Places;
use crate::resolver;

/// glibc's resolver reads no more.
const MOST_SERVERS: usize = 3;

/// What one source on one link says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) dns: Vec<IpAddr>,
    pub(super) domains: Vec<String>,
    pub(super) ntp: Vec<String>,
    pub(super) hostname: Option<String>,
}

/// Where facts come from; what a person wrote comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    File,
    Dhcp,
    Router,
}

#[derive(Debug)]
pub(super) struct Learned {
    places: Places,
    facts: Mutex<BTreeMap<(Source, String), Facts>>,
}

impl Learned {
    pub(super) fn new(places: Places) -> Self {
        Self { places, facts: Mutex::default() }
    }

    /// Takes what a source says now, and writes the resolver file anew.
    pub(super) fn note(&self, source: Source, link: &str, facts: Facts) {
        let text = {
            let mut all = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
            let old = all.insert((source, link.to_owned()), facts.clone());
            if old.as_ref() == Some(&facts) {
                return;
            }
            text(&all)
        };
        if let Err(error) = resolver::write(&self.places.resolv_conf, &text) {
            warn!(path = %self.places.resolv_conf.display(), %error, "name servers not written");
        }
    }

    pub(super) fn time_servers(&self) -> Vec<String> {
        let all = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        unique(all.values().flat_map(|facts| facts.ntp.iter().cloned()))
    }

    pub(super) fn hostname(&self) -> Option<String> {
        let all = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().find_map(|facts| facts.hostname.clone())
    }
}

fn text(all: &BTreeMap<(Source, String), Facts>) -> String {
    let mut servers = unique(all.values().flat_map(|facts| facts.dns.iter().copied()));
    servers.truncate(MOST_SERVERS);
    let domains = unique(all.values().flat_map(|facts| facts.domains.iter().cloned()));
    resolver::text(&servers, &domains)
}

fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_before_servers_and_nothing_twice() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let places = Places { leases: dir.path().into(), resolv_conf: dir.path().join("resolv.conf") };
        let learned = Learned::new(places.clone());
        let facts = |dns: &[&str], domain: &str| Facts {
            dns: dns.iter().map(|text| text.parse().expect("an address")).collect(),
            domains: vec![domain.to_owned()],
            ..Facts::default()
        };
        learned.note(Source::Dhcp, "eth0", facts(&["10.0.0.1", "1.1.1.1"], "lan"));
        learned.note(Source::Router, "eth0", facts(&["fd00::1"], "lan"));
        learned.note(Source::File, "eth1", facts(&["1.1.1.1"], "own"));
        let text = std::fs::read_to_string(&places.resolv_conf).expect("it was written");
        assert_eq!(text, "nameserver 1.1.1.1\nnameserver 10.0.0.1\nnameserver fd00::1\nsearch own lan\n");
    }
}
