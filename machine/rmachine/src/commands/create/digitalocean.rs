//! The flags of the driver digitalocean, as docker-machine names them.

use clap::Args;
use machine_driver_digitalocean::{DigitalOceanDriver, DropletConfig};
use machine_types::MachineName;
use uuid::Uuid;

use crate::failure::Failure;

/// Flags of the driver digitalocean.
#[derive(Debug, Args)]
#[command(next_help_heading = "Driver digitalocean")]
pub(crate) struct DigitalOcean {
    /// Token of the API; later commands read it from the environment
    #[arg(long, env = "DIGITALOCEAN_ACCESS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    digitalocean_access_token: Option<String>,
    /// Custom image made from a release of ours: a number or a slug
    #[arg(long, env = "DIGITALOCEAN_IMAGE", value_name = "IMAGE")]
    digitalocean_image: Option<String>,
    /// Region
    #[arg(long, env = "DIGITALOCEAN_REGION", default_value = "nyc3", value_name = "SLUG")]
    digitalocean_region: String,
    /// Size
    #[arg(long, env = "DIGITALOCEAN_SIZE", default_value = "s-1vcpu-1gb", value_name = "SLUG")]
    digitalocean_size: String,
    /// Give it an IPv6 address as well
    #[arg(long, env = "DIGITALOCEAN_IPV6")]
    digitalocean_ipv6: bool,
    /// Back it up
    #[arg(long, env = "DIGITALOCEAN_BACKUPS")]
    digitalocean_backups: bool,
    /// Monitor it
    #[arg(long, env = "DIGITALOCEAN_MONITORING")]
    digitalocean_monitoring: bool,
    /// Further tags, separated by commas
    #[arg(long, env = "DIGITALOCEAN_TAGS", value_delimiter = ',', value_name = "TAGS")]
    digitalocean_tags: Vec<String>,
    /// Where the API is [default: https://api.digitalocean.com]
    #[arg(long, env = "DIGITALOCEAN_ENDPOINT", default_value = "", hide_default_value = true)]
    #[arg(value_name = "URL")]
    digitalocean_endpoint: String,
}

impl DigitalOcean {
    /// The driver of a new machine.
    pub(crate) fn driver(&self, name: &MachineName, id: Uuid) -> Result<DigitalOceanDriver, Failure> {
        let endpoint = &self.digitalocean_endpoint;
        let is_safe = endpoint.is_empty()
            || endpoint.starts_with("https://")
            || endpoint.starts_with("http://127.0.0.1:")
            || endpoint.starts_with("http://localhost:");
        if !is_safe {
            return Err(Failure::new(format!("`{endpoint}` would be told the token in the open"))
                .hint("use https://, or http:// on this workstation")
                .code(3));
        }
        let image = self.digitalocean_image.as_deref().unwrap_or_default();
        let config = DropletConfig {
            region: self.digitalocean_region.clone(),
            size: self.digitalocean_size.clone(),
            ipv6: self.digitalocean_ipv6,
            backups: self.digitalocean_backups,
            monitoring: self.digitalocean_monitoring,
            tags: self.digitalocean_tags.clone(),
            endpoint: endpoint.clone(),
            ..DropletConfig::new(name.as_str(), id, image)
        };
        Ok(DigitalOceanDriver::new(config, self.digitalocean_access_token.clone()))
    }
}
