//! Machines as droplets of DigitalOcean.
//!
//! Answers get lost, and calls are repeated; so everything that is made carries a tag with the
//! machine's UUID, and is looked for by that tag before it is made again and when it is removed. What
//! is about to be made is written down before the call ([`files::CLEANUP`]), so that `rm` finds it even
//! if rmachine is killed in between. The token is never written anywhere.
//!
//! Deliberately not here: images. A droplet boots a custom image of ours, uploaded by its owner.

mod api;
mod config;
mod driver;
mod retry;

pub use api::{Api, ApiError, Timing};
pub use config::{DEFAULT_ENDPOINT, DropletConfig, TOKEN_VARIABLE};
pub use driver::DigitalOceanDriver;

/// Name of the driver, as after `-d`.
pub const NAME: &str = "digitalocean";

/// Files in a machine's folder.
pub mod files {
    /// What may exist at DigitalOcean and must be removed with the machine.
    pub const CLEANUP: &str = "digitalocean.cleanup.json";
    /// The public key that a droplet is made with.
    pub const PUBLIC_KEY: &str = "id_ed25519.pub";
}
