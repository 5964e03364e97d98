//! Finds the machine's Ignition config and has it applied, on the first boot only.

use std::io;
use std::path::Path;

use hostos_config::Diagnostic;
use hostos_provision::{ApplyError, LoadError, RESULT_FILE, Root, SourceError};

/// Why the config is not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Source(#[from] SourceError),
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

/// Makes the machine what its config says. Blocks while it fetches.
pub(crate) fn apply() -> Result<Outcome, ConfigError> {
    if Path::new(RESULT_FILE).exists() {
        return Ok(Outcome::Before);
    }
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let Some(source) = hostos_provision::find_source(&command_line)? else { return Ok(Outcome::None) };
    let loaded = hostos_provision::load(&source.bytes, &source.name)?;
    let root = Root::open("/").map_err(ConfigError::Root)?;
    let report = hostos_provision::apply(&loaded.config, &root)?;
    // What it wrote lies on more than one filesystem; from here on it survives a power cut.
    nix::unistd::sync();
    tracing::info!(source = source.name, nodes = report.nodes, units = report.units, "config applied");
    Ok(Outcome::Applied { source: source.name, warnings: loaded.warnings })
}
