//! The cluster's units, machines, schedule and states in a store that speaks etcd's v3 API: ours or a
//! real etcd. Nothing of a cluster is kept anywhere else.
//!
//! Keys below the prefix (`/_coreos.com/fleet` by default):
//!
//! | key | value | lives |
//! | --- | --- | --- |
//! | `unit/NAME` | [`StoredUnit`]: options and desired state | until destroyed |
//! | `global/NAME` | [`Assignment`] of a global unit that is not inactive | with the unit |
//! | `schedule/MACHINE/NAME` | [`Assignment`]: all that the machine must know | until moved |
//! | `machine/ID` | [`MachineRecord`] | with the machine's lease |
//! | `state/MACHINE/NAME` | [`StateRecord`] | with the machine's lease |
//! | `setting/ID/metadata/KEY` | metadata set at run time; empty removes a configured one | for ever |
//! | `setting/ID/drain` | anything: the machine is being drained | until undrained |
//! | `setting/ID/removed` | anything: the machine was removed and registers no more | until it joins again |
//! | `join/token/ROLE` | [`fleet_join::TokenRecord`]: the present token, sealed | until rotated |
//! | `join/member/ID` | [`fleet_join::Member`]: a machine that was let in | until removed |
//! | `scheduler` | an election; its first key is the scheduler's fence | with the leader's lease |
//!
//! A machine watches `schedule/ITS-ID/`, `setting/ITS-ID/` and `global/` only, so that a change wakes the one machine it
//! concerns. All that a machine writes hangs on its one lease. The scheduler writes in transactions
//! that fail when it no longer leads.

mod keys;
mod membership;
mod records;
mod registry;
mod schedule;
mod store;
mod watch;

pub use keys::{DEFAULT_PREFIX, Key, Keys};
pub use records::{Assignment, AssignmentWish, MachineRecord, StateRecord, StoredUnit};
pub use registry::{CreateOutcome, Desired, Registry, RegistryError, Snapshot, override_metadata};
pub use schedule::{Lead, Move};
pub use store::Operations;
pub use watch::{Change, ChangeWatch, Changes};
