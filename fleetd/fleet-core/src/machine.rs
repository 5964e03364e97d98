//! A machine as the scheduler sees it.

use std::collections::BTreeMap;
use std::fmt;

use fleet_unit::Resources;

/// The id of a machine: 32 hexadecimal digits by custom, any text by contract.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(pub String);

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for MachineId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}

/// What a live machine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its id.
    pub id: MachineId,
    /// Its metadata, configured and set at run time.
    pub metadata: BTreeMap<String, String>,
    /// What units may reserve on it; nothing means that it does not say, and everything fits.
    pub capacity: Option<Resources>,
    /// It keeps no unit and gets none.
    pub draining: bool,
}
