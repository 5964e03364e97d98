//! The cluster's authority as far as this machine has it: its certificate, and on managers its key.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use fleet_join::{Authority, canonical_pem};

/// What this machine has of the authority. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signer {
    certificate: Option<String>,
    authority: Option<Arc<Authority>>,
}

impl Signer {
    /// From the CA's file and the key's. A key that is not there yet is none: a worker's configuration
    /// may be the same as a manager's.
    pub(crate) fn load(ca: Option<&PathBuf>, key: Option<&PathBuf>) -> Result<Self> {
        let Some(ca) = ca else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(ca).with_context(|| format!("could not read {}", ca.display()))?;
        let certificate =
            canonical_pem(&text).with_context(|| format!("{} holds no certificate", ca.display()))?;
        let key_text = match key.map(|path| (path, std::fs::read_to_string(path))) {
            Some((_, Ok(text))) => Some(text),
            Some((path, Err(error))) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("could not read {}", path.display()));
            }
            _ => None,
        };
        let authority = match key_text {
            Some(key) => Some(Arc::new(Authority::load(&certificate, &key).context("authority_key_file")?)),
            None => None,
        };
        Ok(Self { certificate: Some(certificate), authority })
    }

    /// Does this machine hold the key?
    pub(crate) fn signs(&self) -> bool {
        self.authority.is_some()
    }

    /// The authority with its key.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.authority.as_deref()
    }

    /// Its certificate in canonical form.
    pub(crate) fn authority_certificate(&self) -> Option<String> {
        self.certificate.clone()
    }
}
