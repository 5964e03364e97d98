//! etcd's services over gRPC. Each file is one service; here they are put together.

mod auth;
pub(crate) mod cluster;
mod concurrency;
pub(crate) mod guard;
mod health;
mod kv;
mod lease;
mod maintenance;
mod watch;

pub(crate) use maintenance::SNAPSHOT_MAGIC;

use std::sync::Arc;

use http_body_util::BodyExt as _;
use kv_api::{
    etcdserverpb::{
        auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
        lease_server::LeaseServer, maintenance_server::MaintenanceServer, watch_server::WatchServer,
    },
    health::health_server::HealthServer,
    v3electionpb::election_server::ElectionServer,
    v3lockpb::lock_server::LockServer,
};
use kv_core::Failure;
use tonic::{Status, service::Routes};

use crate::{
    serve::{self, Body},
    server::Core,
};

/// Room for what a message carries beside its data.
pub(crate) const OVERHEAD: usize = 512 << 10;

/// All services a client may call, each call counted.
#[derive(Clone)]
pub(crate) struct Services {
    core: Arc<Core>,
    routes: Routes,
}

impl Services {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self { core: core.clone(), routes: routes(core) }
    }

    pub(crate) async fn call<B>(&self, request: http::Request<B>) -> http::Response<Body>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path();
        let (counted, checked) = (
            self.core.metrics.calls.begin(path, request.headers()),
            guard::check(&self.core, path, request.headers()),
        );
        let response = match (checked, &counted) {
            (Err(kind), _) => Status::from(kind).into_http(),
            (Ok(_), None) => serve::grpc(self.routes.clone(), request).await,
            (Ok(leash), Some(call)) => {
                let request = request.map(|body| call.request(body));
                let response = serve::grpc(self.routes.clone(), request).await;
                if leash && call.streams() {
                    response.map(|body| self.core.leaderless.leash(body).boxed_unsync())
                } else {
                    response
                }
            }
        };
        let Some(call) = counted else { return response };
        let (parts, body) = response.into_parts();
        let body = call.response(&parts.headers, body);
        http::Response::from_parts(parts, body.boxed_unsync())
    }
}

fn routes(core: &Arc<Core>) -> Routes {
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
    .add_service(HealthServer::new(health::Health))
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
