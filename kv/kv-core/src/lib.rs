//! The replicated state of a cluster, as a pure value: operations in, replies and changes out.
//!
//! [`State::apply`] performs one operation of the replicated log; every member performs the same ones in the same
//! order and arrives at the same state. So nothing here reads a clock, a random number, a file or a socket: time
//! and ids come with the operation, and the shell below ([`Backend`]) is an ordered map that somebody else stores.
//!
//! Reads go through a [`View`]: a consistent, cheap copy of the state at one revision, which outlives later writes.
//!
//! - `layout`: which keys of the ordered map hold what
//! - `view` and `range`: reading; `history`: what a watch is fed from; `hash`: comparing members
//! - `state`, `txn`, `lease`, `member`, `compact`: writing
//! - `check`: what is refused before it is even proposed
//! - `v2`: the tree of etcd's first API, in a key space of its own within the same revisions

mod check;
mod compact;
mod error;
mod hash;
mod history;
mod layout;
mod lease;
mod member;
mod overlay;
mod range;
mod state;
mod txn;
pub mod v2;
mod view;

pub use check::{MAX_TXN_OPS, check_delete, check_put, check_range, check_txn};
pub use error::Failure;
pub use history::Change;
pub use layout::{Space, is_data};
pub use lease::LeaseRecord;
pub use overlay::{Backend, Memory, Overlay, Pairs};
pub use state::State;
pub use view::View;
