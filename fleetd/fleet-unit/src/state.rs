//! The state that a user wishes a unit to be in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What should become of a unit. Whether it has is the business of its unit state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// Known to the cluster only.
    Inactive,
    /// Assigned to a machine, its file there.
    Loaded,
    /// Started there.
    Launched,
}

/// A text that names no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid value \"{0}\" for JobState; use inactive, loaded or launched")]
pub struct StateError(pub String);

impl TargetState {
    /// The word on the wire and in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Loaded => "loaded",
            Self::Launched => "launched",
        }
    }
}

impl fmt::Display for TargetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TargetState {
    type Err = StateError;

    fn from_str(word: &str) -> Result<Self, StateError> {
        match word {
            "inactive" => Ok(Self::Inactive),
            "loaded" => Ok(Self::Loaded),
            "launched" => Ok(Self::Launched),
            other => Err(StateError(other.to_owned())),
        }
    }
}
