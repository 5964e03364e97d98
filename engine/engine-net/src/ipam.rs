//! Who gets which addresses. Pure: state in, answer out.

use std::net::Ipv4Addr;

use crate::Subnet;
use crate::error::NetError;
use crate::model::Pool;

/// Docker's defaults: 172.17 to 172.31 as /16, then 192.168.0.0/16 in /20s.
#[must_use]
pub fn default_pools() -> Vec<Subnet> {
    let sixteens = (17..=31).map(|second| Subnet::new(Ipv4Addr::new(172, second, 0, 0), 16));
    let twenties = (0..16).map(|third| Subnet::new(Ipv4Addr::new(192, 168, third * 16, 0), 20));
    sixteens.chain(twenties).collect()
}

/// Splits `--default-address-pool base=…,size=…` into its subnets.
#[must_use]
pub fn split_pool(base: Subnet, size: u8) -> Vec<Subnet> {
    const MOST: u64 = 1 << 16;
    if size < base.prefix() || size > 32 {
        return Vec::new();
    }
    let step = 1u64 << (32 - size);
    (0..(base.size() / step).min(MOST))
        .filter_map(|n| base.nth(n * step))
        .map(|a| Subnet::new(a, size))
        .collect()
}

/// The first of `pools` that overlaps nothing in `used` (networks and the
/// host's own routes).
pub fn pick_pool(pools: &[Subnet], used: &[Subnet]) -> Result<Subnet, NetError> {
    pools
        .iter()
        .copied()
        .find(|pool| !used.iter().any(|other| pool.overlaps(*other)))
        .ok_or(NetError::NoFreePool)
}

impl Pool {
    /// A pool with its first address as gateway, unless one is given.
    #[must_use]
    pub fn new(subnet: Subnet, gateway: Option<Ipv4Addr>, range: Option<Subnet>) -> Self {
        let mut pool = Self { subnet, gateway, range, ..Self::default() };
        if pool.gateway.is_none() {
            pool.gateway = pool.candidates().next();
        }
        pool
    }

    /// Gives `owner` an address: the wanted one, or the next free after the
    /// last given out.
    pub fn allocate(&mut self, owner: &str, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr, NetError> {
        let address = match wanted {
            Some(address) if !self.subnet.contains(address) => {
                return Err(NetError::AddressOutside { address });
            }
            Some(address) if !self.is_free(address) => return Err(NetError::AddressTaken(address)),
            Some(address) => address,
            None => {
                let found = self.next_free().ok_or(NetError::PoolExhausted(self.subnet))?;
                self.last = Some(found);
                found
            }
        };
        self.taken.insert(address, owner.to_owned());
        Ok(address)
    }

    pub fn release(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address);
    }

    /// Takes back all that `owner` has.
    pub fn release_owner(&mut self, owner: &str) {
        self.taken.retain(|_, taken_by| taken_by != owner);
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        !self.taken.contains_key(&address)
            && self.gateway != Some(address)
            && !self.auxiliary.values().any(|auxiliary| *auxiliary == address)
            && (self.subnet.prefix() >= 31
                || (address != self.subnet.address() && address != self.subnet.broadcast()))
    }

    /// Addresses for containers, in order.
    fn candidates(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (subnet, range) = (self.subnet, self.range.unwrap_or(self.subnet));
        (0..range.size())
            .filter_map(move |offset| range.nth(offset))
            .filter(move |a| subnet.prefix() >= 31 || (*a != subnet.address() && *a != subnet.broadcast()))
    }

    fn next_free(&self) -> Option<Ipv4Addr> {
        let after = self.last;
        let later = self.candidates().skip_while(move |address| after.is_some_and(|last| *address <= last));
        later.chain(self.candidates()).find(|address| self.is_free(*address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str) -> Pool {
        Pool::new(subnet.parse().unwrap(), None, None)
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_get_dockers_pools_in_dockers_order() {
        let pools = default_pools();
        let mut used = vec!["172.17.0.0/16".parse().unwrap(), "172.18.128.0/20".parse().unwrap()];
        assert_eq!(pick_pool(&pools, &used).unwrap().to_string(), "172.19.0.0/16");
        used.push("172.16.0.0/12".parse().unwrap());
        assert_eq!(pick_pool(&pools, &used).unwrap().to_string(), "192.168.0.0/20");
        used.push("192.168.0.0/16".parse().unwrap());
        assert!(matches!(pick_pool(&pools, &used), Err(NetError::NoFreePool)));
        assert_eq!(split_pool("10.0.0.0/8".parse().unwrap(), 10).len(), 4);
    }

    #[test]
    fn addresses_are_given_out_in_order_and_rest_before_reuse() {
        let mut pool = pool("172.17.0.0/16");
        assert_eq!(pool.gateway, Some(ip("172.17.0.1")));
        assert_eq!(pool.allocate("a", None).unwrap(), ip("172.17.0.2"));
        assert_eq!(pool.allocate("b", None).unwrap(), ip("172.17.0.3"));
        pool.release_owner("a");
        assert_eq!(pool.allocate("c", None).unwrap(), ip("172.17.0.4"));
    }

    #[test]
    fn a_full_pool_says_so_and_wraps_around_first() {
        let mut pool = pool("10.0.0.0/29");
        for _ in 0..5 {
            pool.allocate("x", None).unwrap();
        }
        assert!(matches!(pool.allocate("x", None), Err(NetError::PoolExhausted(_))));
        pool.release(ip("10.0.0.3"));
        assert_eq!(pool.allocate("x", None).unwrap(), ip("10.0.0.3"));
    }

    #[test]
    fn wanted_addresses_must_be_inside_and_free() {
        let mut pool = pool("10.0.0.0/24");
        pool.auxiliary.insert("router".into(), ip("10.0.0.9"));
        assert_eq!(pool.allocate("a", Some(ip("10.0.0.77"))).unwrap(), ip("10.0.0.77"));
        for taken in ["10.0.0.77", "10.0.0.1", "10.0.0.9", "10.0.0.0", "10.0.0.255"] {
            assert!(matches!(pool.allocate("b", Some(ip(taken))), Err(NetError::AddressTaken(_))), "{taken}");
        }
        assert!(matches!(pool.allocate("b", Some(ip("10.0.1.1"))), Err(NetError::AddressOutside { .. })));
    }

    #[test]
    fn a_range_bounds_the_dynamic_addresses_only() {
        let subnet = "10.0.0.0/16".parse().unwrap();
        let mut pool = Pool::new(subnet, Some(ip("10.0.0.1")), Some("10.0.5.0/30".parse().unwrap()));
        let given: Vec<_> = (0..4).map(|_| pool.allocate("x", None).unwrap().to_string()).collect();
        assert_eq!(given, ["10.0.5.0", "10.0.5.1", "10.0.5.2", "10.0.5.3"]);
        assert!(pool.allocate("x", None).is_err());
        assert!(pool.allocate("x", Some(ip("10.0.9.9"))).is_ok());
    }
}
