//! What the user asked of a machine, whatever its driver. The keys are docker-machine's, so that
//! `inspect --format '{{.HostOptions…}}'` of old scripts keeps working. All paths are relative to
//! the store.

use serde::{Deserialize, Serialize};

use crate::MachineName;

/// Everything the user asked for that is not the driver's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostOptions {
    /// How the engine runs.
    pub engine_options: EngineOptions,
    /// How the machine finds others.
    pub swarm_options: SwarmOptions,
    /// Where its keys are.
    pub auth_options: AuthOptions,
    /// A file with an Ignition config of the user's, merged into the machine's own, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ignition: String,
    /// The cluster whose network it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<MachineName>,
}

/// How the engine of a machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EngineOptions {
    /// Further `key=value` settings, or bare flags.
    pub arbitrary_flags: Vec<String>,
    /// `NAME=value` for the engine's environment.
    pub env: Vec<String>,
    /// Registries that may be spoken to without TLS.
    pub insecure_registry: Vec<String>,
    /// `key=value` labels.
    pub labels: Vec<String>,
    /// Mirrors asked before the real registry.
    pub registry_mirror: Vec<String>,
    /// Storage driver, or empty for the engine's choice.
    pub storage_driver: String,
    /// Where the engine would be installed from; only machines without an image of ours use it.
    #[serde(rename = "InstallURL")]
    pub install_url: String,
}

/// How a machine finds the others of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmOptions {
    /// Whether it takes part at all.
    pub is_swarm: bool,
    /// Whether it leads.
    pub master: bool,
    /// Address it announces, or empty for its own.
    pub address: String,
    /// Discovery URL, or empty.
    pub discovery: String,
    /// Where a master listens.
    pub host: String,
    /// Image of the elder's agent; kept for scripts that read it.
    pub image: String,
    /// Placement strategy.
    pub strategy: String,
    /// `key=value` for a master.
    pub arbitrary_flags: Vec<String>,
    /// `key=value` for a member.
    pub arbitrary_join_flags: Vec<String>,
    /// The elder's switch for unfinished features.
    pub is_experimental: bool,
}

/// Where the keys of a machine are, relative to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthOptions {
    /// Folder of the authority.
    pub cert_dir: String,
    /// The authority's certificate.
    pub ca_cert_path: String,
    /// The authority's key.
    pub ca_private_key_path: String,
    /// The client's certificate.
    pub client_cert_path: String,
    /// The client's key.
    pub client_key_path: String,
    /// The machine's certificate.
    pub server_cert_path: String,
    /// The machine's key.
    pub server_key_path: String,
    /// Folder with what a client of this machine needs: `DOCKER_CERT_PATH`.
    pub store_path: String,
    /// Further names and addresses in the machine's certificate.
    #[serde(rename = "ServerCertSANs")]
    pub server_cert_sans: Vec<String>,
}
