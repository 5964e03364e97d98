//! Docker Remote API shapes: what travels in requests and replies, field by field as Docker has them.
//!
//! Null, empty and absent are different things to Docker's clients, so each field here says by its type
//! what Docker sends: `Option` is written as `null` when nothing is there, and only fields marked to be
//! skipped are left out. Requests are read leniently: see [`lenient`]. Nothing here does anything.

pub mod container;
pub mod host_config;
pub mod lenient;
pub mod network;
pub mod size;

/// The newest API version served.
pub const API_VERSION: ApiVersion = ApiVersion { major: 1, minor: 50 };
/// The oldest API version served.
pub const MIN_API_VERSION: ApiVersion = ApiVersion { major: 1, minor: 24 };

/// A version of the API, as `1.41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    pub major: u32,
    pub minor: u32,
}

impl ApiVersion {
    pub const fn v1(minor: u32) -> ApiVersion {
        ApiVersion { major: 1, minor }
    }

    /// Reads `1.41`.
    pub fn parse(text: &str) -> Option<ApiVersion> {
        let (major, minor) = text.split_once('.')?;
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(major) || !digits(minor) {
            return None;
        }
        Some(ApiVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
