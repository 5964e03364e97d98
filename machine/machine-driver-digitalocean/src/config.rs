//! What `config.json` keeps for a droplet. The first keys are docker-machine's. No token among them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// DigitalOcean's own API.
pub const DEFAULT_ENDPOINT: &str = "https://api.digitalocean.com";
/// Where the token is read from; it is kept nowhere else.
pub const TOKEN_VARIABLE: &str = "DIGITALOCEAN_ACCESS_TOKEN";

/// What `config.json` keeps for a droplet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DropletConfig {
    /// The droplet's public address; empty before it has one.
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    /// The machine's name.
    pub machine_name: String,
    /// User to log in as.
    #[serde(rename = "SSHUser")]
    pub ssh_user: String,
    /// Where ssh is.
    #[serde(rename = "SSHPort")]
    pub ssh_port: u16,
    /// Private key, relative to the store.
    #[serde(rename = "SSHKeyPath")]
    pub ssh_key_path: String,
    /// The droplet; 0 before it is made.
    #[serde(rename = "DropletID")]
    pub droplet_id: u64,
    /// Slug or id of the image.
    pub image: String,
    /// Where it is to be.
    pub region: String,
    /// How large it is to be.
    pub size: String,
    /// Whether it has an IPv6 address as well.
    #[serde(rename = "IPv6")]
    pub ipv6: bool,
    /// Whether it is backed up.
    pub backups: bool,
    /// Whether it is monitored.
    pub monitoring: bool,
    /// Further tags.
    pub tags: Vec<String>,
    /// The API, if it is not DigitalOcean's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// The machine's identity, which is in the tag.
    pub id: Uuid,
}

impl DropletConfig {
    /// A droplet with the defaults of the flags.
    #[must_use]
    pub fn new(name: &str, id: Uuid, image: &str) -> Self {
        Self {
            ip_address: String::new(),
            machine_name: name.to_owned(),
            ssh_user: "core".into(),
            ssh_port: 22,
            ssh_key_path: format!("machines/{name}/id_ed25519"),
            droplet_id: 0,
            image: image.to_owned(),
            region: "nyc3".into(),
            size: "s-1vcpu-1gb".into(),
            ipv6: false,
            backups: false,
            monitoring: false,
            tags: Vec::new(),
            endpoint: String::new(),
            id,
        }
    }

    /// The tag by which everything of this machine is found.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("rmachine-{}", self.id)
    }

    /// Where the API is.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        if self.endpoint.is_empty() { DEFAULT_ENDPOINT } else { &self.endpoint }
    }
}
