//! What the engine says it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock;

/// The version clients see. They gate features on it, so it names the Docker release whose API is served.
pub(crate) const ENGINE: &str = "28.2.2+rmachine.0.1.0";
/// For `engined --version`.
pub(crate) const PRODUCT: &str = concat!(env!("CARGO_PKG_VERSION"), ", serves Docker API 1.24 to 1.50");
/// The architecture in Go's words.
pub(crate) const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// The commit this was built from. A plain `cargo build` does not say.
pub(crate) fn commit() -> &'static str {
    option_env!("RMACHINE_COMMIT").unwrap_or("unknown")
}

/// When this was built, as RFC 3339: the date of the commit, so that the same source gives the same bytes.
/// Where the build named none, it is the program file's own.
pub(crate) fn build_time() -> String {
    let named = option_env!("RMACHINE_COMMIT_TIME").and_then(|seconds| seconds.parse().ok());
    let since = named.map(Duration::from_secs).or_else(|| file_time()?.duration_since(UNIX_EPOCH).ok());
    let nanos = since.and_then(|time| i64::try_from(time.as_nanos()).ok()).unwrap_or_default();
    if nanos == 0 { String::new() } else { clock::rfc3339_padded(nanos).replace('Z', "+00:00") }
}

fn file_time() -> Option<SystemTime> {
    std::fs::metadata("/proc/self/exe").ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_build_has_a_date_of_its_own() {
        let text = super::build_time();
        assert!(text.ends_with("+00:00") && text.as_str() > "2024-", "{text}");
    }
}
