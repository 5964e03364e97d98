//! etcd v3's wire: the messages and services, the table of its errors, and helpers about keys.
//!
//! The `.proto` files under `proto/` are written to etcd's field numbers and names; `internal` is our own
//! (what the replicated log and the peers exchange). Nothing here decides anything: see `kv-core` for that.

mod errors;
mod keys;

pub use errors::{ErrorKind, UnknownError};
pub use keys::{KeyRange, prefix_end};

/// The version we report wherever etcd reports its own. Clients turn features on by it.
pub const ETCD_VERSION: &str = "3.5.21";
/// The cluster version that goes with [`ETCD_VERSION`].
pub const ETCD_CLUSTER_VERSION: &str = "3.5.0";

/// The compiled descriptors of everything under `proto/`, a serialised `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `mvccpb`: key-value pairs and events.
#[allow(clippy::all, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}
/// `authpb`: users and permissions.
#[allow(clippy::all, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
pub mod authpb {
    tonic::include_proto!("authpb");
}
/// `etcdserverpb`: KV, Watch, Lease, Cluster, Maintenance.
#[allow(clippy::all, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
/// `v3lockpb`: the lock service.
#[allow(clippy::all, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}
/// `v3electionpb`: the election service.
#[allow(clippy::all, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}
/// `grpc.health.v1`: whether a server serves.
#[allow(clippy::all, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}
/// Ours: log entries and calls between members.
#[allow(clippy::all, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
pub mod internal {
    tonic::include_proto!("rkv");
}
