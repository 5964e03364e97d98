//! What a machine is doing, in the elders' nine words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// It runs and said that it is ready.
    Running,
    /// Its processors are halted, memory and devices are kept.
    Paused,
    /// Its memory is on disk.
    Saved,
    /// It is off.
    Stopped,
    /// It is going down.
    Stopping,
    /// It is on, but did not say yet that it is ready.
    Starting,
    /// It said that it will not get ready, or was never finished, or cannot be read.
    Error,
    /// It did not tell in time.
    Timeout,
}

/// A text that is none of the states.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state: use Running, Paused, Saved, Stopped, Stopping, Starting, Error or Timeout")]
pub struct UnknownState(String);

impl State {
    const ALL: [Self; 8] = [
        Self::Running,
        Self::Paused,
        Self::Saved,
        Self::Stopped,
        Self::Stopping,
        Self::Starting,
        Self::Error,
        Self::Timeout,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Saved => "Saved",
            Self::Stopped => "Stopped",
            Self::Stopping => "Stopping",
            Self::Starting => "Starting",
            Self::Error => "Error",
            Self::Timeout => "Timeout",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_back_in_any_case() {
        for state in State::ALL {
            assert_eq!(state.as_str().to_lowercase().parse(), Ok(state));
        }
        assert!("asleep".parse::<State>().is_err());
    }
}
