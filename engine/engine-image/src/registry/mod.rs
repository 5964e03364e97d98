//! The registry client: pull, push and login over the registry v2 protocol.
//!
//! Blobs are verified before anything of them becomes a layer; credentials go only to the host that asked for
//! them. Async; unpacking runs on blocking threads.

mod auth;
mod download;
mod manifest;
mod names;
mod pull;
mod push;
mod session;
mod transport;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub use auth::Auth;
pub use download::Download;
pub use manifest::Resolved;

use crate::error::{ImageError, Result};

const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// How to reach registries.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// For the hub: URLs tried before it, in order.
    pub mirrors: Vec<String>,
    /// Hosts (`name[:port]`) and networks (`10.0.0.0/8`) where TLS may be missing or wrong. 127.0.0.0/8 always is.
    pub insecure: Vec<String>,
    /// `HOST/ca.crt` and so on.
    pub certificates: PathBuf,
    /// Layers fetched at once.
    pub downloads: usize,
    /// Layers sent at once.
    pub uploads: usize,
    /// Tries for each layer of a pull.
    pub attempts: u32,
    pub proxies: Proxies,
}

/// How hosts are reached; an empty address is directly. This machine itself always is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain HTTP.
    pub http: String,
    /// For TLS.
    pub https: String,
    /// Hosts, domains and networks reached directly, by commas.
    pub except: String,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        let certificates = "/etc/docker/certs.d".into();
        Self {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            certificates,
            downloads: 3,
            uploads: 5,
            attempts: 5,
            proxies: Proxies::default(),
        }
    }
}

/// The client. Cheap to clone; all clones share connections and tokens.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    config: RegistryConfig,
    clients: Mutex<HashMap<(String, bool), reqwest::Client>>,
}

/// Credentials that are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub status: String,
    /// To be kept instead of the password, where the registry's authorization server gives one out.
    pub identity_token: String,
}

/// One base URL to try.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    /// Without a slash at the end: `https://host[:port]`.
    url: String,
    host: String,
    verify: bool,
}

impl Registry {
    pub fn new(config: RegistryConfig) -> Self {
        Self { inner: Arc::new(Inner { config, clients: Mutex::default() }) }
    }

    /// Who else may have a domain's images, in the order to try.
    fn mirrors(&self, domain: &str) -> Vec<Endpoint> {
        let mirrors = self.inner.config.mirrors.iter().filter(|_| domain == HUB);
        mirrors.map(|url| self.mirror(url)).collect()
    }

    /// Where a domain's images are, in the order to try.
    fn endpoints(&self, domain: &str) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        let host = if domain == HUB { HUB_HOST } else { domain };
        let insecure = self.is_insecure(host);
        let url = format!("https://{host}");
        endpoints.push(Endpoint { url, host: host.to_owned(), verify: !insecure });
        if insecure {
            let url = format!("http://{host}");
            endpoints.push(Endpoint { url, host: host.to_owned(), verify: true });
        }
        endpoints
    }

    fn mirror(&self, url: &str) -> Endpoint {
        let url = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
        let host =
            url.split("://").nth(1).unwrap_or_default().split('/').next().unwrap_or_default().to_owned();
        let verify = !self.is_insecure(&host);
        Endpoint { url: url.trim_end_matches('/').to_owned(), host, verify }
    }

    /// Whether plain HTTP and unknown certificates are taken from this host.
    pub fn is_insecure(&self, host: &str) -> bool {
        let name = host_name(host);
        if name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
            return true;
        }
        self.inner.config.insecure.iter().any(|entry| match entry.split_once('/') {
            Some((network, bits)) => name.parse().is_ok_and(|address| in_network(address, network, bits)),
            None => entry == host || entry == name,
        })
    }

    fn client(&self, endpoint: &Endpoint) -> Result<reqwest::Client> {
        let key = (endpoint.host.clone(), endpoint.verify);
        let mut clients = self.inner.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = transport::client(&endpoint.host, &self.inner.config, endpoint.verify)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// `POST /auth`: whether the credentials are good, in Docker's words.
    pub async fn login(&self, auth: &Auth) -> Result<Login> {
        let server = auth.server_address.trim_start_matches("https://").trim_start_matches("http://");
        let host = server.split('/').next().unwrap_or_default();
        let domain = if host.is_empty() || host == "index.docker.io" { HUB } else { host };
        let mut session = session::Session::open(self, domain, "", auth, "").await?;
        let identity_token = session.check_login().await?;
        Ok(Login { status: "Login Succeeded".into(), identity_token })
    }
}

/// The host without its port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else { return false };
    let shared = |a: &[u8], b: &[u8]| {
        let bit = |bytes: &[u8], at: u32| bytes[(at / 8) as usize] >> (7 - at % 8) & 1;
        bits <= a.len() as u32 * 8 && (0..bits).all(|at| bit(a, at) == bit(b, at))
    };
    match (address, network.parse()) {
        (IpAddr::V4(a), Ok(IpAddr::V4(b))) => shared(&a.octets(), &b.octets()),
        (IpAddr::V6(a), Ok(IpAddr::V6(b))) => shared(&a.octets(), &b.octets()),
        _ => false,
    }
}

fn registry_error(message: impl Into<String>, status: u16) -> ImageError {
    ImageError::Registry { message: message.into(), status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_follow_the_configuration() {
        let config = RegistryConfig {
            mirrors: vec!["http://mirror:5000".into()],
            insecure: vec!["10.0.0.0/8".into(), "reg.local:5000".into()],
            ..RegistryConfig::default()
        };
        let registry = Registry::new(config);
        let all = |domain: &str| [registry.mirrors(domain), registry.endpoints(domain)].concat();
        let urls = |domain: &str| all(domain).into_iter().map(|e| e.url).collect::<Vec<_>>();
        assert_eq!(urls("docker.io"), ["http://mirror:5000", "https://registry-1.docker.io"]);
        assert_eq!(urls("127.0.0.1:5000"), ["https://127.0.0.1:5000", "http://127.0.0.1:5000"]);
        assert_eq!(urls("quay.example"), ["https://quay.example"]);
        assert!(registry.is_insecure("10.1.2.3:80") && registry.is_insecure("reg.local:5000"));
        assert!(!registry.is_insecure("11.1.2.3") && !registry.is_insecure("reg.local:5001"));
        assert!(registry.is_insecure("[::1]:5000"));
    }
}
