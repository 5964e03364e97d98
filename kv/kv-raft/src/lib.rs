//! The replicated log under `kvd`: openraft behind one door.
//!
//! [`Node`] is all that others see: propose an operation, get a view that is certainly not stale, watch the state
//! move, move leadership. Inside: `batch` puts many clients' operations into one log entry (one sync for all of
//! them), `read` shares one quorum round between waiting readers, `log` and `machine` are openraft's storage on
//! `kv-wal` and `kv-core` + `kv-store`, `reconcile` makes the voters follow the members table. The wire between
//! members is a [`Transport`] given from outside, as is the disk: simulations replace both.
//!
//! # Which openraft, and issue 2116
//! 0.10.0-alpha.37, pinned. 0.9.25 awaits each append's sync in its core loop before it replicates, and has no
//! pre-vote, leadership transfer or lease reads. openraft#2116 (the core panics when a queued apply runs after a
//! purge passed its start) needs an automatic purge close behind the applied position; here nothing purges by
//! itself: `flush` purges by hand, at least [`KEPT_ENTRIES`] behind what is stored durably, and a node that stops
//! for whatever reason ends the process (see [`Node::stopped`]).

mod batch;
mod contact;
mod entry;
mod flush;
pub mod image;
mod log;
mod machine;
mod network;
mod node;
mod read;
mod reconcile;
pub mod timing;
mod types;

pub use flush::KEPT_ENTRIES;
pub use log::{LogStore, Mode};
pub use machine::{Applied, Machine};
pub use network::{BoxFuture, Transport};
pub use node::{Node, Options, StartError, Status};
pub use types::{Image, Kind, Peer, Proposal, Replies, TypeConfig};
