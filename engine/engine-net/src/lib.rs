//! Container networks: bridges, addresses, the firewall, names.
//!
//! ```text
//! ipam::pick_pool(&ipam::default_pools(), &used)        -> Subnet          172.17/16 … then 192.168.0/20 …
//! network.pool.allocate(endpoint_id, wanted)            -> Ipv4Addr        (Pool is plain serde state)
//! bridge::ensure(&network); bridge::remove(&network)    the bridge: there, up, addressed; or gone
//! Netns::create(path) / Netns::open(path)               a namespace pinned by a bind mount, lo up
//! ns.connect(&endpoint, &network, default_route)        veth, address, route: two system calls
//! Netns::remove(path)                                   after the container's end; its veth goes by itself
//! Firewall::new().apply(&Rules { networks, ports, links })     one nft table, replaced atomically
//! Monitor::new()?.changed().await; firewall.heal()      puts it back after somebody's flush
//! Ports::new().reserve(protocol, ip, range)             holds the host port so nobody else takes it
//! DnsServer::start(&ns, Arc<dyn Names>)                 127.0.0.11:53 inside the namespace
//! files::{hosts, hostname, Resolver}                    contents of the three files
//! ```
//!
//! It keeps no state of its own: what is in [`model`] is given in, changed and
//! kept by `engined`. All calls but the resolver and the monitor are blocking
//! and short (a millisecond at most, but for `disconnect` and bridge removal).
//! Host-side calls act in the network namespace of the calling thread.

pub mod bridge;
mod dns;
mod error;
pub mod files;
pub mod ipam;
mod mac;
pub mod model;
mod netlink;
mod netns;
mod nft;
mod ports;
mod route;
pub mod subnet;

pub use dns::{DnsServer, Names, Reverse};
pub use error::NetError;
pub use mac::mac_of;
pub use netlink::NetlinkError;
pub use netns::Netns;
pub use nft::{Firewall, Monitor, Rules, TABLE, USER_CHAIN};
pub use ports::Ports;
pub use subnet::Subnet;
