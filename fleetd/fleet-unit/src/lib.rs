//! Units as a cluster knows them: names, option lists and their hash, desired states, and what the
//! `[X-Fleet]` section asks of a machine. Pure: it reads no file, no clock and no network.
//!
//! The contract is fleet's, with one deliberate difference: a `MachineMetadata` that cannot be
//! understood is an error here, where fleet dropped it and ran the unit anywhere.

mod glob;
mod metadata;
mod name;
mod options;
mod placement;
mod resources;
mod state;

pub use glob::glob_matches;
pub use metadata::{Comparison, Metadata, MetadataError};
pub use name::{NameError, UnitName};
pub use options::{UnitOption, UnitOptions};
pub use placement::{Placement, PlacementError, Strategy};
pub use resources::{Resources, ResourcesError};
pub use state::{StateError, TargetState};
