//! Which address a machine gets: always the same for the same hardware address, as long as the file
//! of leases lives.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::frame::Mac;

/// The cluster's network: a /24 whose first address is the switch itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its address, with a last byte of 0.
    pub base: Ipv4Addr,
}

impl Network {
    /// Bits of the network.
    pub const PREFIX: u8 = 24;
    /// First and last machine.
    pub const HOSTS: std::ops::RangeInclusive<u8> = 10..=250;

    /// The switch's own address.
    #[must_use]
    pub fn switch(self) -> Ipv4Addr {
        self.host(1)
    }

    /// The mask.
    #[must_use]
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::new(255, 255, 255, 0)
    }

    fn host(self, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.base.octets();
        Ipv4Addr::new(a, b, c, last)
    }
}

/// Addresses given so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    given: BTreeMap<Mac, u8>,
}

impl Leases {
    /// From lines `MAC LAST-BYTE`; others are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (mac, last) = line.trim().split_once(' ')?;
            let mut bytes = [0; 6];
            let mut parts = mac.split(':');
            for byte in &mut bytes {
                *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
            }
            let last: u8 = last.parse().ok()?;
            Network::HOSTS.contains(&last).then_some((Mac(bytes), last))
        };
        Self { given: text.lines().filter_map(line).collect() }
    }

    /// Takes over what somebody else decided: these machines have these addresses, whoever had them.
    pub fn reserve(&mut self, reserved: &Leases) {
        self.given.retain(|mac, last| {
            reserved.given.get(mac) == Some(last) || !reserved.given.values().any(|taken| taken == last)
        });
        self.given.extend(&reserved.given);
    }

    /// Sets one machine's address, by the last byte.
    pub fn set(&mut self, mac: Mac, last: u8) {
        self.given.insert(mac, last);
    }

    /// As [`Self::parse`] reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.given.iter().map(|(mac, last)| format!("{mac} {last}\n")).collect()
    }

    /// The address of a machine, and whether it is new. Nothing when all are given.
    pub fn address(&mut self, network: Network, mac: Mac) -> Option<(Ipv4Addr, bool)> {
        if let Some(last) = self.given.get(&mac) {
            return Some((network.host(*last), false));
        }
        let taken: Vec<u8> = self.given.values().copied().collect();
        let free = Network::HOSTS.into_iter().find(|last| !taken.contains(last))?;
        self.given.insert(mac, free);
        Some((network.host(free), true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_keeps_its_address_across_restarts_of_the_switch() {
        let network = Network { base: Ipv4Addr::new(10, 88, 7, 0) };
        let mut leases = Leases::default();
        let (a, b) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!(leases.address(network, a), Some((Ipv4Addr::new(10, 88, 7, 10), true)));
        assert_eq!(leases.address(network, b), Some((Ipv4Addr::new(10, 88, 7, 11), true)));
        let mut again = Leases::parse(&format!("{}rubbish\n", leases.to_text()));
        assert_eq!(again, leases);
        assert_eq!(again.address(network, b), Some((Ipv4Addr::new(10, 88, 7, 11), false)));
    }

    #[test]
    fn a_reserved_address_is_taken_from_whoever_had_it() {
        let network = Network { base: Ipv4Addr::new(10, 88, 7, 0) };
        let (old, new) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let mut leases = Leases::default();
        leases.address(network, old);
        let mut reserved = Leases::default();
        reserved.set(new, 10);
        leases.reserve(&reserved);
        assert_eq!(leases.address(network, new), Some((Ipv4Addr::new(10, 88, 7, 10), false)));
        assert_eq!(leases.address(network, old), Some((Ipv4Addr::new(10, 88, 7, 11), true)));
    }

    #[test]
    fn a_full_network_gives_nothing_more() {
        let network = Network { base: Ipv4Addr::new(10, 88, 7, 0) };
        let mut leases = Leases::default();
        let given = (0..=255).filter_map(|n| leases.address(network, Mac([2, 0, 0, 0, 1, n]))).count();
        assert_eq!(given, 241);
    }
}
