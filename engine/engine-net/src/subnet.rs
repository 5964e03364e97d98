//! An IPv4 subnet, `172.17.0.0/16`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A network address and its prefix length. Host bits are always clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: Ipv4Addr,
    prefix: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct SubnetError(String);

impl Subnet {
    /// Clears the host bits; a prefix above 32 counts as 32.
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { base: Ipv4Addr::from(u32::from(address) & mask(prefix)), prefix }
    }

    /// The subnet and the very address written: `10.1.0.5/16` → (10.1.0.0/16, 10.1.0.5).
    pub fn parse_with_address(text: &str) -> Result<(Self, Ipv4Addr), SubnetError> {
        let wrong = || SubnetError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > 32 {
            return Err(wrong());
        }
        Ok((Self::new(address, prefix), address))
    }

    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        self.base
    }

    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    #[must_use]
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.prefix))
    }

    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) | !mask(self.prefix))
    }

    /// Number of addresses, network and broadcast included.
    #[must_use]
    pub fn size(self) -> u64 {
        1u64 << (32 - u32::from(self.prefix))
    }

    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.base)
    }

    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let shorter = self.prefix.min(other.prefix);
        u32::from(self.base) & mask(shorter) == u32::from(other.base) & mask(shorter)
    }

    /// The address `offset` places after the network address.
    #[must_use]
    pub fn nth(self, offset: u64) -> Option<Ipv4Addr> {
        (offset < self.size()).then(|| Ipv4Addr::from(u32::from(self.base).wrapping_add(offset as u32)))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl Default for Subnet {
    fn default() -> Self {
        Self::new(Ipv4Addr::UNSPECIFIED, 0)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_with_address(text).map(|(subnet, _)| subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_and_the_address_is_kept_beside() {
        let (subnet, address) = Subnet::parse_with_address("10.1.2.3/16").unwrap();
        assert_eq!(subnet.to_string(), "10.1.0.0/16");
        assert_eq!(address, Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(subnet.broadcast(), Ipv4Addr::new(10, 1, 255, 255));
    }

    #[test]
    fn overlap_is_symmetric_and_whole() {
        let all: Vec<Subnet> = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"]
            .iter()
            .map(|s| s.parse().unwrap())
            .collect();
        assert!(all[0].overlaps(all[2]) && all[2].overlaps(all[0]));
        assert!(all[1].overlaps(all[2]));
        assert!(!all[1].overlaps(all[3]));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/-1"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
