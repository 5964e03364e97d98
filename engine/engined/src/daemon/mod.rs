//! The engine behind the API: its containers, images, networks and volumes, and what it knows of the host.

pub(crate) mod host;
mod info;

use crate::options::Config;

/// One engine.
pub(crate) struct Daemon {
    pub(crate) config: Config,
    /// Stable over restarts; clients only show it.
    id: String,
}

impl Daemon {
    pub(crate) fn open(config: Config) -> anyhow::Result<Daemon> {
        let id = host::engine_id(&config.data_root)?;
        Ok(Daemon { config, id })
    }
}
