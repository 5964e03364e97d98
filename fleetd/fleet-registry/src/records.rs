//! The values behind the keys: JSON, so that `etcdctl get` shows a person what is there.

use std::collections::BTreeMap;

use fleet_unit::{TargetState, UnitOptions};
use serde::{Deserialize, Serialize};

/// A unit that was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredUnit {
    /// Its content.
    pub options: UnitOptions,
    /// What its user wishes.
    pub target: TargetState,
}

/// A unit that a machine is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Its content.
    pub options: UnitOptions,
    /// `loaded` or `launched`.
    pub target: TargetState,
    /// The machine that had it before and lived when it was taken from it: the unit does not start here
    /// while it is still told of there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl Assignment {
    /// Of a unit that no other machine has to let go of.
    #[must_use]
    pub fn new(options: UnitOptions, target: TargetState) -> Self {
        Self { options, target, from: None }
    }

    /// Does it say the same to the machine, wherever the unit came from?
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.options == other.options && self.target == other.target
    }
}

/// An [`Assignment`] read without its content.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AssignmentWish {
    /// As there.
    pub target: TargetState,
    /// As there.
    #[serde(default)]
    pub from: Option<String>,
}

/// What a machine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineRecord {
    /// Where it can be reached.
    pub public_ip: String,
    /// Its configured metadata.
    pub metadata: BTreeMap<String, String>,
    /// Version of its fleetd.
    pub version: String,
    /// Bytes that units may reserve; 0 when it does not say.
    pub memory: u64,
    /// Thousandths of a CPU that units may reserve; 0 when it does not say.
    pub milli_cpus: u64,
    /// Where its API is served to other machines, `https://host:port`; empty when it is not.
    pub api: String,
    /// It holds the authority's key and signs.
    pub signs: bool,
}

/// What a unit is on a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateRecord {
    /// LOAD, in systemd's words.
    pub load: String,
    /// ACTIVE, in systemd's words.
    pub active: String,
    /// SUB, in systemd's words.
    pub sub: String,
    /// Hash of the content.
    pub hash: String,
    /// The machine has been told to start it, and did.
    pub launched: bool,
}
