//! Who asks: credentials as clients send them, and what a registry demands.

use base64::Engine;
use serde::Deserialize;

use crate::error::{ImageError, Result};

/// Credentials of one registry (`X-Registry-Auth`, an entry of `X-Registry-Config`, the body of `POST /auth`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Auth {
    pub username: String,
    pub password: String,
    /// `user:password` in base64, instead of the two.
    pub auth: String,
    #[serde(alias = "identitytoken")]
    pub identity_token: String,
    #[serde(alias = "registrytoken")]
    pub registry_token: String,
    #[serde(alias = "serveraddress")]
    pub server_address: String,
}

impl Auth {
    /// From the header's value: base64 (either alphabet, padded or not) of JSON. Empty means anonymous.
    pub fn from_header(value: &str) -> Result<Self> {
        let value = value.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
        if value.is_empty() {
            return Ok(Self::default());
        }
        let invalid =
            |reason: String| ImageError::Invalid(format!("invalid X-Registry-Auth header: {reason}"));
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(value)
            .map_err(|error| invalid(error.to_string()))?;
        Self::from_json(&bytes).map_err(|error| invalid(error.to_string()))
    }

    pub fn from_json(bytes: &[u8]) -> serde_json::Result<Self> {
        let mut auth: Self = serde_json::from_slice(bytes)?;
        if auth.username.is_empty()
            && let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(&auth.auth)
            && let Some((user, password)) = String::from_utf8_lossy(&decoded).split_once(':')
        {
            auth.username = user.to_owned();
            auth.password = password.trim_end_matches('\0').to_owned();
        }
        Ok(auth)
    }

    pub fn is_anonymous(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }
}

/// A `WWW-Authenticate` challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

pub(super) fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let value = |name: &str| parameter(rest, name).unwrap_or_default();
    let realm = value("realm");
    (!realm.is_empty()).then(|| Challenge::Bearer { realm, service: value("service"), scope: value("scope") })
}

/// `name="value"` in a comma-separated list whose values may hold commas.
fn parameter(list: &str, wanted: &str) -> Option<String> {
    let mut rest = list;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(',').trim();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.to_owned());
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        assert!(Auth::from_header("e30=").expect("fine").is_anonymous());
        let json = r#"{"username":"u","password":"p","serveraddress":"r"}"#;
        let header = base64::engine::general_purpose::URL_SAFE.encode(json);
        assert_eq!(Auth::from_header(&header).expect("fine").username, "u");
        assert_eq!(Auth::from_json(br#"{"auth":"dTpw"}"#).expect("fine").password, "p");
        assert!(Auth::from_header("%%").is_err());
    }

    #[test]
    fn challenges_are_read() {
        let header = r#"Bearer realm="https://a/token",service="r",scope="repository:x:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://a/token".into(),
            service: "r".into(),
            scope: "repository:x:pull,push".into(),
        };
        assert_eq!(challenge(header), Some(expected));
        assert_eq!(challenge("Basic realm=\"x\""), Some(Challenge::Basic));
    }
}
