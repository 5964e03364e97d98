//! The network of a machine: links, addresses, routes, DHCPv4, router advertisements and the resolver
//! file, as `.network` files declare them.
//!
//! Everything goes through rtnetlink and plain sockets; no helper program is started. IPv6 addresses
//! come from router advertisements, which the kernel follows by itself; name servers in them are read
//! here.

mod configuration;
pub mod dhcp;
pub mod file;
mod lease;
mod links;
mod manager;
pub mod ra;
pub mod resolver;
mod routes;

pub use configuration::Configuration;
pub use lease::{Lease, LeaseStore};
pub use links::{Link, Links, NetworkError};
pub use manager::{Network, NetworkUpError, Online, Places};

/// Whether this may stand in a file as the name of a host or domain.
pub(crate) fn is_name(text: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !text.is_empty() && text.len() <= 253 && text.chars().all(harmless)
}
