//! etcd's services over gRPC. Each file is one service; here they are put together.

mod auth;
pub(crate) mod cluster;
mod concurrency;
mod kv;
mod lease;
mod maintenance;
mod watch;

pub(crate) use maintenance::SNAPSHOT_MAGIC;

use std::sync::Arc;

use kv_api::{
    etcdserverpb::{
        auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
        lease_server::LeaseServer, maintenance_server::MaintenanceServer, watch_server::WatchServer,
    },
    v3electionpb::election_server::ElectionServer,
    v3lockpb::lock_server::LockServer,
};
use kv_core::Failure;
use tonic::{Status, service::Routes};

use crate::server::Core;

/// Room for what a request carries beside its data.
const OVERHEAD: usize = 512 << 10;

/// All services a client may call.
pub(crate) fn routes(core: &Arc<Core>) -> Routes {
    let most = core.config.max_request_bytes + OVERHEAD;
    let huge = usize::MAX;
    Routes::new(
        KvServer::new(kv::Kv(core.clone())).max_decoding_message_size(most).max_encoding_message_size(huge),
    )
    .add_service(WatchServer::new(watch::Watches::new(core.clone())).max_encoding_message_size(huge))
    .add_service(LeaseServer::new(lease::Leases(core.clone())))
    .add_service(ClusterServer::new(cluster::Members(core.clone())))
    .add_service(MaintenanceServer::new(maintenance::Maintenance(core.clone())))
    .add_service(AuthServer::new(auth::NoAuth(core.clone())))
    .add_service(LockServer::new(concurrency::Concurrency(core.clone())))
    .add_service(ElectionServer::new(concurrency::Concurrency(core.clone())))
}

pub(crate) fn refused(failure: Failure) -> Status {
    match failure {
        Failure::Refused(kind) => kind.into(),
        Failure::Storage(error) => {
            tracing::error!(%error, "could not read the state");
            kv_api::ErrorKind::Corrupt.into()
        }
    }
}

pub(crate) fn storage(error: std::io::Error) -> Status {
    refused(Failure::Storage(error))
}
