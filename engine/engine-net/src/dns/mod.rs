//! The resolver at 127.0.0.11 inside each container on a network of its own.
//!
//! It is bound there, in the container's network namespace: no redirection, so
//! nothing a container does to its own firewall breaks it. Names of containers
//! are answered here; everything else is passed on, byte for byte.

mod message;
mod server;

pub use server::{DnsServer, Names, Reverse};
