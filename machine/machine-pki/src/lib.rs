//! The certificate authority of a store, and the certificates of its machines' engines: P-256 keys, PEM in,
//! PEM out. A cluster's authority is the crate `fleet-join`'s.
//!
//! No file is read or written here, and no clock is read: `now` comes in.

mod issue;
mod look;

pub use issue::{Pair, PkiError, authority, client, server};
pub use look::{Certificate, key_matches};

/// Ten years: the authority outlives its machines.
pub const AUTHORITY_LIFE: time::Duration = time::Duration::days(3650);

/// As docker-machine's certificates.
pub const CERTIFICATE_LIFE: time::Duration = time::Duration::days(1080);
