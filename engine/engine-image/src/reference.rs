//! Image references as Docker reads them: `[domain/]path[:tag][@digest]`, with the hub's short forms.
//!
//! Parses and prints only; nothing here looks a name up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, DigestError};

const HUB: &str = "docker.io";
const LONGEST_NAME: usize = 255;

/// A normalised reference. `Display` gives the familiar form (`busybox:latest`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("invalid reference format")]
    Format,
    #[error("invalid tag format")]
    Tag,
    #[error("invalid reference format: repository name must be lowercase")]
    Uppercase,
    #[error("repository name must not be more than {LONGEST_NAME} characters")]
    TooLong,
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Reference {
    /// Reads what a user typed. No tag is added; see [`Reference::with_default_tag`].
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if is_identifier(text) {
            return Err(ReferenceError::Identifier(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase);
        }
        if !is_domain(&domain) || !path.split('/').all(is_path_component) {
            return Err(ReferenceError::Format);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) || digest.is_some_and(|digest| !looks_like_digest(digest)) {
            return Err(ReferenceError::Format);
        }
        if domain.len() + 1 + path.len() > LONGEST_NAME {
            return Err(ReferenceError::TooLong);
        }
        let digest = digest.map(str::parse).transpose()?;
        Ok(Self { domain, path: path.to_owned(), tag: tag.map(str::to_owned), digest })
    }

    /// Registry host (and port): `docker.io` for the hub.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository inside the registry, e.g. `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Repository as users write it: `busybox`, `host:5000/x/y`.
    pub fn familiar_name(&self) -> String {
        if self.domain == HUB {
            self.path.strip_prefix("library/").unwrap_or(&self.path).to_owned()
        } else {
            format!("{}/{}", self.domain, self.path)
        }
    }

    /// Repository in full: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Everything in full, as stored: `docker.io/library/busybox:latest`.
    pub fn canonical(&self) -> String {
        self.render(self.name())
    }

    /// Adds `latest` when there is neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository with this tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag);
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository with this digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// True for a bare repository.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    fn render(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

/// Docker's rule for `repo` and `tag` of commit, import, tag and build: the tag parameter wins nothing, it adds.
pub fn with_optional_tag(repository: &str, tag: &str) -> Result<Reference, ReferenceError> {
    let reference = Reference::parse(repository)?;
    if tag.is_empty() {
        return Ok(reference.with_default_tag());
    }
    reference.with_tag(tag)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(self.familiar_name()))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.canonical())
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Splits the registry off, and completes the hub's short forms.
fn split_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (HUB, text),
    };
    let domain = if domain == "index.docker.io" { HUB } else { domain };
    let remainder = if domain == HUB && !remainder.contains('/') && !remainder.is_empty() {
        format!("library/{remainder}")
    } else {
        remainder.to_owned()
    };
    (domain.to_owned(), remainder)
}

fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'a'..=b'f' | b'0'..=b'9'))
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port_fits = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    port_fits && host.split('.').all(is_domain_component)
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alnum = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    bytes.split(|&byte| alnum(byte)).filter(|separator| !separator.is_empty()).all(|separator| {
        matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|&byte| byte == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|&byte| word(byte))
        && bytes.iter().all(|&byte| word(byte) || byte == b'.' || byte == b'-')
}

fn looks_like_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let algorithm_fits = algorithm.split(['-', '_', '+', '.']).all(|part| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    algorithm_fits && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_full_forms() {
        let cases = [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("a/b:1", "docker.io/a/b:1", "a/b:1"),
            ("index.docker.io/x", "docker.io/library/x", "x"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("127.0.0.1:5000/zt/x:v", "127.0.0.1:5000/zt/x:v", "127.0.0.1:5000/zt/x:v"),
            ("docker.io/library/busybox:musl", "docker.io/library/busybox:musl", "busybox:musl"),
            ("a__b/c---d.e", "docker.io/a__b/c---d.e", "a__b/c---d.e"),
        ];
        for (text, canonical, familiar) in cases {
            let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(reference.canonical(), canonical);
            assert_eq!(reference.to_string(), familiar);
        }
        let digest = Digest::of(b"");
        let pinned = Reference::parse(&format!("x:1@{digest}")).expect("tag and digest");
        assert_eq!((pinned.tag(), pinned.digest()), (Some("1"), Some(&digest)));
    }

    #[test]
    fn errors_speak_as_docker_does() {
        let cases = [
            ("", "invalid reference format"),
            ("Busybox", "invalid reference format: repository name must be lowercase"),
            ("a//b", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a:b:c", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("host:port/x", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
        ];
        for (text, message) in cases {
            assert_eq!(Reference::parse(text).expect_err(text).to_string(), message, "{text}");
        }
        let hex = "a".repeat(64);
        assert!(matches!(Reference::parse(&hex), Err(ReferenceError::Identifier(_))));
        assert!(matches!(Reference::parse(&"a".repeat(250)), Err(ReferenceError::TooLong)));
    }
}
