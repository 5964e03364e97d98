//! Finds the machine's Ignition config and has it applied, on the first boot only.

use std::fs;
use std::io;
use std::path::Path;

use hostos_api::FW_CFG_CONFIG;
use hostos_config::{Diagnostic, Rejected};
use hostos_provision::{ApplyError, RESULT_FILE, Root};

use crate::system::kernel_parameter;

/// Why the config is not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the config from the firmware")]
    Firmware(#[source] io::Error),
    #[error("the config at {0} cannot be fetched: this version reads configs from the firmware only")]
    Remote(String),
    #[error(transparent)]
    Rejected(#[from] Rejected),
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

/// Makes the machine what its config says.
pub(crate) fn apply() -> Result<Outcome, ConfigError> {
    if Path::new(RESULT_FILE).exists() {
        return Ok(Outcome::Before);
    }
    let Some((bytes, source)) = find()? else { return Ok(Outcome::None) };
    let (config, warnings) = hostos_config::parse(&bytes, &source)?;
    let root = Root::open("/").map_err(ConfigError::Root)?;
    let report = hostos_provision::apply(&config, &root)?;
    tracing::info!(source, nodes = report.nodes, units = report.units, "config applied");
    Ok(Outcome::Applied { source, warnings })
}

/// The config, and where it came from; nothing if the machine was given none.
fn find() -> Result<Option<(Vec<u8>, String)>, ConfigError> {
    let path = Path::new("/sys/firmware/qemu_fw_cfg/by_name").join(FW_CFG_CONFIG).join("raw");
    match fs::read(&path) {
        Ok(bytes) => Ok(Some((bytes, "fw_cfg".to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match kernel_parameter("ignition.config.url") {
                Some(url) => Err(ConfigError::Remote(url)),
                None => Ok(None),
            }
        }
        Err(error) => Err(ConfigError::Firmware(error)),
    }
}
