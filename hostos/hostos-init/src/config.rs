//! Finds the machine's Ignition config and has it applied, on the first boot only.

use std::io;
use std::path::Path;
use std::time::Duration;

use hostos_config::Diagnostic;
use hostos_metadata::{Firmware, MetadataError, Platform, Service};
use hostos_provision::{ApplyError, LoadError, RESULT_FILE, Root, Source, SourceError};

/// A cloud's metadata service may come up after the machine.
const CLOUD_LIMIT: Duration = Duration::from_secs(60);

/// Why the config is not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Cloud(#[from] MetadataError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot open the root")]
    Root(#[source] io::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What came of the config.
pub(crate) enum Outcome {
    /// There is none.
    None,
    /// An earlier boot has applied it.
    Before,
    /// It is applied; these things in it deserve a look.
    Applied { source: String, warnings: Vec<Diagnostic> },
}

/// The user data of the cloud that the machine is in, if it is in one.
fn from_cloud(command_line: &str) -> Result<Option<Source>, MetadataError> {
    let Some(platform) = Platform::detect(command_line, &Firmware::read(Path::new("/sys"))) else {
        return Ok(None);
    };
    let data = Service::new(platform, CLOUD_LIMIT).user_data()?;
    Ok(data.map(|bytes| Source { bytes, name: format!("user data of {}", platform.name()) }))
}

/// Makes the machine what its config says, if that takes no network: so the network can be what the
/// config declares from the start. Nothing is done, and nothing said, if it takes one.
pub(crate) fn apply_without_network() -> Result<Option<Outcome>, ConfigError> {
    if Path::new(RESULT_FILE).exists() {
        return Ok(Some(Outcome::Before));
    }
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if hostos_provision::source_needs_network(&command_line) {
        return Ok(None);
    }
    match hostos_provision::find_source(&command_line)? {
        Some(source) if !hostos_provision::needs_network(&source.bytes) => apply_source(source).map(Some),
        _ => Ok(None),
    }
}

/// Makes the machine what its config says. Blocks while it fetches.
pub(crate) fn apply() -> Result<Outcome, ConfigError> {
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let found = match hostos_provision::find_source(&command_line)? {
        Some(found) => Some(found),
        None => from_cloud(&command_line)?,
    };
    found.map_or(Ok(Outcome::None), apply_source)
}

fn apply_source(source: Source) -> Result<Outcome, ConfigError> {
    let loaded = hostos_provision::load(&source.bytes, &source.name)?;
    let root = Root::open("/").map_err(ConfigError::Root)?;
    let report = hostos_provision::apply(&loaded.config, &root)?;
    tracing::info!(source = source.name, nodes = report.nodes, units = report.units, "config applied");
    Ok(Outcome::Applied { source: source.name, warnings: loaded.warnings })
}
