//! How to fetch: the time-outs, proxies and authorities of a config, made ready for use.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hostos_config::Config;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::address::Address;

const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// How to fetch.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// For the headers of a response.
    pub(super) headers: Option<Duration>,
    /// For everything, retries included.
    pub(super) total: Option<Duration>,
    http_proxy: Option<String>,
    https_proxy: Option<String>,
    no_proxy: Vec<String>,
    pub(super) tls: Arc<ClientConfig>,
}

/// Authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// No PEM.
    #[error("it is not a PEM bundle of certificates")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// Nothing in it.
    #[error("it holds no certificate")]
    Empty,
    /// No certificate.
    #[error("it holds something that is no certificate")]
    Certificate(#[source] rustls::Error),
}

impl Settings {
    /// The settings of a config, and of the bundles that its authorities were fetched from.
    pub(super) fn new(config: &Config, bundles: &[Vec<u8>]) -> Result<Self, AuthorityError> {
        let timeouts = &config.ignition.timeouts;
        let seconds = |value: Option<i64>, default: Option<Duration>| match value {
            None => default,
            Some(value) => u64::try_from(value).ok().filter(|value| *value > 0).map(Duration::from_secs),
        };
        let proxy = &config.ignition.proxy;
        Ok(Self {
            headers: seconds(timeouts.http_response_headers, Some(HEADERS_TIMEOUT)),
            total: seconds(timeouts.http_total, None),
            http_proxy: proxy.http_proxy.clone().filter(|proxy| !proxy.is_empty()),
            https_proxy: proxy.https_proxy.clone().filter(|proxy| !proxy.is_empty()),
            no_proxy: proxy.no_proxy.clone(),
            tls: Arc::new(tls(bundles)?),
        })
    }

    /// The proxy to reach an address through, if one is to be used.
    pub(super) fn proxy_for(&self, address: &Address) -> Option<Address> {
        if self.no_proxy.iter().any(|exempt| covers(exempt, address)) || is_local(&address.host) {
            return None;
        }
        let proxy = if address.scheme == "https" { &self.https_proxy } else { &self.http_proxy };
        proxy.as_deref().and_then(Address::parse)
    }
}

fn tls(bundles: &[Vec<u8>]) -> Result<ClientConfig, AuthorityError> {
    let mut roots = hostos_trust::roots();
    for bundle in bundles {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            roots.add(certificate.map_err(AuthorityError::Pem)?).map_err(AuthorityError::Certificate)?;
        }
        if roots.len() == before {
            return Err(AuthorityError::Empty);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an entry of noProxy (host, domain, address, network, each with a port or not, or `*`) covers an
/// address.
fn covers(exempt: &str, address: &Address) -> bool {
    let exempt = exempt.trim().to_ascii_lowercase();
    if exempt == "*" {
        return true;
    }
    if let (Some((network, bits)), Ok(host)) = (exempt.split_once('/'), address.host.parse::<IpAddr>()) {
        return network.parse().is_ok_and(|network| in_network(host, network, bits));
    }
    let (name, port) = match exempt.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (exempt.as_str(), None),
    };
    if port.is_some_and(|port| port != address.port.to_string()) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    let host = address.host.to_ascii_lowercase();
    let domain = name.trim_start_matches('*').trim_start_matches('.');
    let below = !domain.is_empty() && host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    below || !name.starts_with(['.', '*']) && host == name
}

fn in_network(host: IpAddr, network: IpAddr, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else { return false };
    match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(host) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(host), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(host) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_takes_hosts_domains_addresses_and_networks() {
        let covered = |exempt: &str, url: &str| covers(exempt, &Address::parse(url).expect("a URL"));
        assert!(covered("example.com", "http://example.com/"));
        assert!(covered("example.com", "http://a.example.com/"));
        assert!(!covered("example.com", "http://badexample.com/"));
        assert!(covered(".example.com", "http://a.example.com/"));
        assert!(!covered(".example.com", "http://example.com/"));
        assert!(covered("example.com:81", "http://example.com:81/"));
        assert!(!covered("example.com:81", "http://example.com/"));
        assert!(covered("10.0.0.0/8", "http://10.2.3.4/"));
        assert!(!covered("10.0.0.0/8", "http://11.2.3.4/"));
        assert!(covered("fd00::/8", "http://[fd00::1]/"));
        assert!(covered("0.0.0.0/0", "http://1.2.3.4/"));
        assert!(covered("*", "http://anything/"));
    }
}
