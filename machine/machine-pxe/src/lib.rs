//! Boots bare machines over the network, into a cluster.
//!
//! A machine asks by DHCP; whoever is not approved gets no answer. iPXE is sent to a script, any other
//! firmware to iPXE first, by TFTP. The script names kernel and initramfs of a release, both over HTTP,
//! and the URL of an Ignition config that is given out once: with a one-time secret that is bound to
//! the machine and lives for minutes. [`Book`] remembers how far each machine came.
//!
//! Groups and profiles are matchbox's, as are the paths `/boot.ipxe`, `/ipxe`, `/grub`, `/ignition`,
//! `/generic`, `/metadata` and `/assets`.
//!
//! Decisions are values to values ([`dhcp`], [`tftp`], [`groups`], [`Book`], [`Site`]); bytes are moved by
//! [`wire`], a port of a cluster's switch with a TCP of its own, so that nothing needs root, and by
//! [`sockets`], for a network of this workstation.

mod book;
pub mod dhcp;
mod ether;
pub mod groups;
mod mac;
mod site;
pub mod sockets;
pub mod tftp;
pub mod wire;

pub use book::{Approval, Book, Known, Progress};
pub use mac::Mac;
pub use site::{Answer, Config, Host, Release, Site};
