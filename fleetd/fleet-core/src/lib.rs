//! Which unit runs on which machine, and why: an index of the cluster, [`schedule`] for one unit,
//! [`reconcile`] for all that changed, [`Explanation`] for whoever asks.
//!
//! Pure: no clock, no randomness, no store. The shell around it (fleetd) feeds what it sees in kv
//! into [`Cluster`] and writes the [`Action`]s back; the same inputs always give the same actions.
//!
//! The index is incremental. A change marks the units it may concern, and only these are looked at,
//! so a pass over a cluster in which nothing changed costs nothing.

mod cluster;
mod explain;
mod globs;
mod machine;
mod reconcile;
mod schedule;

pub use cluster::{Cluster, UnitSpec};
pub use explain::{Explanation, Obstacle};
pub use machine::{Machine, MachineId};
pub use reconcile::{Action, Reason, reconcile};
pub use schedule::{Decision, runs_global, schedule};
