//! What a cloud tells a machine about itself over its link-local metadata service: the user data, which
//! is the machine's Ignition config, and names, addresses and ssh keys.
//!
//! - **DigitalOcean**: `/metadata/v1/user-data`, and everything else as `/metadata/v1.json`
//! - **EC2**: a session token first (IMDSv2), then `/latest/user-data` and `/latest/meta-data/…`
//!
//! Which cloud it is follows from `ignition.platform.id=` on the kernel command line, or from what the
//! firmware says it was made by. Nothing is asked on a machine that is in no cloud.

mod http;
mod platform;
mod service;

pub use platform::{Firmware, Platform};
pub use service::{Metadata, MetadataError, Service};
