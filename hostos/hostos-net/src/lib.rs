//! The network of a machine: links, addresses, routes, DHCPv4 and the resolver file.
//!
//! Everything goes through rtnetlink and plain UDP sockets; no helper program is started. IPv6
//! addresses come from router advertisements, which the kernel follows by itself.

pub mod dhcp;
mod lease;
mod links;
pub mod resolver;

pub use lease::{Lease, LeaseStore};
pub use links::{Link, Links, NetworkError};
