//! The unit manager that the configuration names.

use fleet_agent::{HostosManager, ManagerError, SystemdManager, UnitManager, UnitStatus};
use fleet_unit::UnitName;

use crate::config::{Config, UnitManagerKind};

/// The host's own supervisor, or systemd.
pub(crate) enum Units {
    Hostos(HostosManager),
    Systemd(SystemdManager),
}

impl Units {
    pub(crate) fn of(config: &Config) -> Self {
        let hostos = match config.unit_manager {
            UnitManagerKind::Hostos => true,
            UnitManagerKind::Systemd => false,
            // Where systemd is the first process, no supervisor of ours is.
            UnitManagerKind::Auto => config.units_socket.exists() || !booted_with_systemd(),
        };
        if hostos {
            Self::Hostos(HostosManager::new(&config.units_socket))
        } else {
            Self::Systemd(SystemdManager::new(&config.units_directory, config.systemd_user))
        }
    }
}

fn booted_with_systemd() -> bool {
    std::path::Path::new("/run/systemd/system").exists()
}

impl UnitManager for Units {
    async fn load(&mut self, name: &UnitName, text: &str) -> Result<(), ManagerError> {
        match self {
            Self::Hostos(manager) => manager.load(name, text).await,
            Self::Systemd(manager) => manager.load(name, text).await,
        }
    }

    async fn unload(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        match self {
            Self::Hostos(manager) => manager.unload(name).await,
            Self::Systemd(manager) => manager.unload(name).await,
        }
    }

    async fn start(&mut self, name: &UnitName, fence: i64) -> Result<(), ManagerError> {
        match self {
            Self::Hostos(manager) => manager.start(name, fence).await,
            Self::Systemd(manager) => manager.start(name, fence).await,
        }
    }

    async fn stop(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        match self {
            Self::Hostos(manager) => manager.stop(name).await,
            Self::Systemd(manager) => manager.stop(name).await,
        }
    }

    async fn states(&mut self, names: &[UnitName]) -> Result<Vec<UnitStatus>, ManagerError> {
        match self {
            Self::Hostos(manager) => manager.states(names).await,
            Self::Systemd(manager) => manager.states(names).await,
        }
    }

    async fn changed(&mut self) -> Result<(), ManagerError> {
        match self {
            Self::Hostos(manager) => manager.changed().await,
            Self::Systemd(manager) => manager.changed().await,
        }
    }
}
