//! Names and shapes a machine is described by: what `config.json` holds and what commands print.
//!
//! Plain values only. Nothing here touches a disk, a clock or a network.

mod name;
mod options;
mod record;
mod state;

pub use name::{MachineName, NameError};
pub use options::{AuthOptions, EngineOptions, HostOptions, SwarmOptions};
pub use record::{CONFIG_VERSION, Progress, Record};
pub use state::{State, UnknownState};
