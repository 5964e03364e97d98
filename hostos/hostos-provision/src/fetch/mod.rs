//! Bytes from the sources that a config may name, unpacked and verified: http, https, tftp and data.
//!
//! Plain blocking sockets with deadlines: a machine fetches before anything else runs on it.

mod address;
mod content;
mod http;
mod response;
mod settings;
mod stream;
mod tftp;
mod unpack;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hostos_config::{Config, Resource, data_url};

use address::Address;
pub(crate) use content::Content;
use content::Spool;
pub use http::HttpError;
pub use settings::AuthorityError;
use settings::Settings;
pub use tftp::TftpError;
pub use unpack::UnpackError;

/// How long a server may stay silent where the config sets no bound.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
const TFTP_LIMIT: usize = 256 << 20;

/// Why a resource cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No scheme that we know.
    #[error("`{0}` is no source that this machine can fetch from: use http, https, tftp or data")]
    Scheme(String),
    /// A data URL that is none.
    #[error("the data URL cannot be read")]
    Data(#[source] data_url::DataUrlError),
    /// What came is not what was promised.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// HTTP or HTTPS.
    #[error("cannot fetch {url}")]
    Http {
        /// From where.
        url: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// TFTP.
    #[error("cannot fetch {url}")]
    Tftp {
        /// From where.
        url: String,
        /// Why.
        #[source]
        source: TftpError,
    },
    /// An authority of the config.
    #[error("the certificate authority {url} cannot be used")]
    Authority {
        /// From where.
        url: String,
        /// Why.
        #[source]
        source: AuthorityError,
    },
}

/// Fetches resources, as the settings of a config say.
#[derive(Debug, Clone)]
pub struct Fetcher {
    settings: Settings,
    patience: Duration,
    spool: PathBuf,
}

impl Fetcher {
    /// A fetcher with the time-outs and proxies of a config, and its authorities, which are fetched now.
    ///
    /// # Errors
    /// An authority cannot be had or is none.
    pub fn new(config: &Config) -> Result<Self, FetchError> {
        let plain = |source| FetchError::Authority { url: "of the image".into(), source };
        let mut fetcher = Self {
            settings: Settings::new(config, &[]).map_err(plain)?,
            patience: PATIENCE,
            spool: std::env::temp_dir(),
        };
        let authorities = &config.ignition.security.tls.certificate_authorities;
        if authorities.is_empty() {
            return Ok(fetcher);
        }
        let mut bundles = Vec::new();
        for authority in authorities {
            let bundle = fetcher.fetch(authority)?.bytes().map_err(UnpackError::Keep)?;
            let named = |source| FetchError::Authority { url: shown(authority), source };
            Settings::new(config, std::slice::from_ref(&bundle)).map_err(named)?;
            bundles.push(bundle);
        }
        fetcher.settings = Settings::new(config, &bundles).map_err(plain)?;
        Ok(fetcher)
    }

    /// The same, with another bound on how long a server may stay silent where the config sets none.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The same, with another directory for large content that waits to be written.
    #[must_use]
    pub fn with_spool(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spool = directory.into();
        self
    }

    /// The bytes of a resource, unpacked and verified.
    pub(crate) fn fetch(&self, resource: &Resource) -> Result<Content, FetchError> {
        let source = resource.source.as_deref().unwrap_or_default();
        let spool = || Spool::new(self.spool.clone());
        let scheme = source.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match scheme.as_str() {
            "" => Ok(unpack::unpack(&b""[..], resource, spool())?),
            "data" => {
                let bytes = data_url::decode(source).map_err(FetchError::Data)?;
                Ok(unpack::unpack(bytes.as_slice(), resource, spool())?)
            }
            "http" | "https" => {
                let request = http::Request {
                    url: source,
                    headers: &resource.http_headers,
                    settings: &self.settings,
                    patience: self.patience,
                };
                let got = request.get(|body| unpack::unpack(body, resource, spool()));
                got.map_err(|source| FetchError::Http { url: shown(resource), source })
            }
            "tftp" => {
                let bytes =
                    self.tftp(source).map_err(|source| FetchError::Tftp { url: shown(resource), source })?;
                Ok(unpack::unpack(bytes.as_slice(), resource, spool())?)
            }
            _ => Err(FetchError::Scheme(shown(resource))),
        }
    }

    fn tftp(&self, url: &str) -> Result<Vec<u8>, TftpError> {
        let address = Address::parse(url)
            .ok_or_else(|| TftpError::Transfer(std::io::Error::from(std::io::ErrorKind::InvalidInput)))?;
        tftp::read(&address, TFTP_LIMIT, Instant::now() + self.settings.total.unwrap_or(self.patience))
    }
}

/// A source as people may see it: no password, and not all of a data URL.
fn shown(resource: &Resource) -> String {
    let source = resource.source.as_deref().unwrap_or_default();
    match Address::parse(source) {
        Some(address) => address.to_string(),
        None => source.chars().take(40).collect(),
    }
}
