//! One machine as `config.json` keeps it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{HostOptions, MachineName};

/// The layout of `config.json` that this version writes. docker-machine's last was 3.
pub const CONFIG_VERSION: u32 = 4;

/// How far `create` came. Each step can be repeated without harm, so an interrupted create starts
/// over and finds done what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// The record is written, nothing else is certain.
    Recorded,
    /// Keys and certificates are there.
    Keys,
    /// The driver may have made something: a disk, a process, a server that costs money.
    Driver,
    /// The machine answered over TLS once.
    Done,
}

/// One machine as `config.json` keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    /// [`CONFIG_VERSION`] of the writer.
    pub config_version: u32,
    /// Name in the store.
    pub name: MachineName,
    /// Never changes, never used twice; also the SMBIOS UUID of a virtual machine.
    pub id: Uuid,
    /// RFC 3339.
    pub created: String,
    /// How far `create` came.
    pub progress: Progress,
    /// Which driver owns it.
    pub driver_name: String,
    /// The driver's own data, its shape is the driver's.
    pub driver: serde_json::Value,
    /// What the user asked for.
    #[serde(default)]
    pub host_options: HostOptions,
}

impl Record {
    /// Whether `create` came to its end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.progress == Progress::Done
    }
}
