//! Container networks: bridges, addresses, the firewall, names.
//!
//! ```text
//! ipam::Pools::default().pick(&in_use)                 -> Subnet          172.17/16 … then 192.168.0/20 …
//! network.pool.allocate(endpoint_id, wanted)           -> Ipv4Addr        (Pool is plain serde state)
//! bridge::ensure(&network)                             bridge up, addressed; bridge::remove(&network)
//! Netns::create(path) / Netns::open(path)              a namespace pinned by a bind mount, lo up
//! ns.connect(&endpoint, &network, default_route)       one netlink batch: veth, address, route
//! ns.disconnect(&endpoint)
//! Firewall::new(config).apply(&Rules{networks, ports, links})   one nft table, replaced atomically; .intact()
//! ports::reserve(protocol, ip, range)                  binds the host port so nobody else takes it
//! DnsServer::start(&ns, Arc<dyn Names>, upstreams)     127.0.0.11:53 inside the namespace
//! files::{hosts, resolv_conf, hostname}                contents of the three files
//! ```
//!
//! It keeps no state of its own: what is in [`model`] is given in, changed and
//! kept by `engined`.

pub mod model;
pub mod subnet;

pub use subnet::Subnet;
