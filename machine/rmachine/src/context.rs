//! What every command needs: the store, where the keys are, the switch for giving up.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use machine_core::driver::Cancel;
use machine_store::{Lock, Store};
use machine_types::MachineName;

use crate::cli::Global;
use crate::failure::Failure;
use crate::interrupt;

/// How long a command waits for another one that works on the same machine.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// What every command needs.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) certs: Certs,
    cancel: OnceLock<Cancel>,
}

/// Files of the authority and the client.
#[derive(Clone, Debug)]
pub(crate) struct Certs {
    pub(crate) ca: PathBuf,
    pub(crate) ca_key: PathBuf,
    pub(crate) client: PathBuf,
    pub(crate) client_key: PathBuf,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let store = Store::at(&store_path(global)?)?;
        let dir = store.certs();
        let or = |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| dir.join(name));
        let certs = Certs {
            ca: or(&global.tls_ca_cert, "ca.pem"),
            ca_key: or(&global.tls_ca_key, "ca-key.pem"),
            client: or(&global.tls_client_cert, "cert.pem"),
            client_key: or(&global.tls_client_key, "key.pem"),
        };
        Ok(Self { store, certs, cancel: OnceLock::new() })
    }

    /// The same for another thread, with the same switch.
    pub(crate) fn again(&self) -> Result<Self, Failure> {
        let cancel = OnceLock::from(self.cancel().clone());
        Ok(Self { store: Store::at(self.store.root())?, certs: self.certs.clone(), cancel })
    }

    /// The switch; from its first use on Ctrl-C throws it instead of ending the program.
    pub(crate) fn cancel(&self) -> &Cancel {
        self.cancel.get_or_init(|| {
            let cancel = Cancel::default();
            interrupt::watch(&cancel);
            cancel
        })
    }

    pub(crate) fn lock(&self, name: &MachineName) -> Result<Lock, Failure> {
        let cancel = self.cancel();
        Ok(self.store.lock_machine(name, LOCK_LIMIT, &|| cancel.is_cancelled())?)
    }

    /// A file as the store's records name it: relative if it is inside.
    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(self.store.root()).unwrap_or(path).display().to_string()
    }
}

fn store_path(global: &Global) -> Result<PathBuf, Failure> {
    let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    global
        .storage_path
        .clone()
        .or_else(|| from_env("RMACHINE_STORAGE_PATH"))
        .or_else(|| from_env("MACHINE_STORAGE_PATH"))
        .or_else(|| from_env("HOME").map(|home| home.join(".rmachine")))
        .ok_or_else(|| {
            Failure::new("there is no home folder to keep machines in")
                .hint("say where with `--storage-path` or RMACHINE_STORAGE_PATH")
        })
}
