//! What the engine says it is.

/// The version clients see. They gate features on it, so it names the Docker release whose API is served.
pub(crate) const ENGINE: &str = "28.2.2+rmachine.0.1.0";
/// For `engined --version`.
pub(crate) const PRODUCT: &str = concat!(env!("CARGO_PKG_VERSION"), ", serves Docker API 1.24 to 1.50");

/// The commit this was built from, when the build says so.
pub(crate) fn commit() -> &'static str {
    option_env!("RMACHINE_COMMIT").unwrap_or("unknown")
}

/// When this was built, as RFC 3339; an unset build date is the epoch, so that builds are reproducible.
pub(crate) fn build_time() -> &'static str {
    option_env!("RMACHINE_BUILD_TIME").unwrap_or("1970-01-01T00:00:00.000000000+00:00")
}

/// The architecture in Go's words.
pub(crate) const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
