//! The Lease service.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use futures_util::{Stream, StreamExt as _};
use kv_api::{
    ErrorKind,
    etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
        LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server,
    },
    internal::{op, reply},
};
use tonic::{Request, Response, Status, Streaming};

use super::storage;
use crate::server::Core;

pub(crate) struct Leases(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl lease_server::Lease for Leases {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let mut request = request.into_inner();
        if request.id == 0 {
            request.id = i64::from(rand::random::<u32>() >> 1) << 32 | i64::from(rand::random::<u32>()) | 1;
        }
        // As etcd: no lease shorter than one and a half elections.
        let least = (self.0.config.election.as_millis() * 3 / 2).div_ceil(1000) as i64;
        request.ttl = request.ttl.max(least);
        match self.0.propose(op::Op::LeaseGrant(request)).await? {
            reply::Reply::LeaseGrant(mut reply) => {
                self.0.lessor.granted(reply.id, reply.ttl);
                self.0.metrics.leases.granted.fetch_add(1, Ordering::Relaxed);
                reply.header = self.0.header_now();
                Ok(Response::new(reply))
            }
            _ => Err(ErrorKind::Corrupt.into()),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.0.propose(op::Op::LeaseRevoke(request.into_inner())).await?;
        self.0.metrics.leases.revoked.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(LeaseRevokeResponse { header: self.0.header_now() }))
    }

    type LeaseKeepAliveStream = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let core = self.0.clone();
        let replies = request.into_inner().then(move |request| {
            let core = core.clone();
            async move {
                let id = request?.id;
                // Were it from afterwards, it could be of a revision by which the lease had ended.
                let header = core.header_now();
                let ttl = core.lessor.keep_alive(id).await?;
                core.metrics.leases.renewed.fetch_add(u64::from(ttl > 0), Ordering::Relaxed);
                Ok(LeaseKeepAliveResponse { header, id, ttl })
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let view = self.0.view(false).await?;
        let header = Some(self.0.header(view.revision()));
        let Some(lease) = view.lease(id).map_err(storage)? else {
            return Ok(Response::new(LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() }));
        };
        let ttl = self.0.lessor.time_to_live(id).await?;
        let keys = if keys { view.lease_keys(id).map_err(storage)? } else { Vec::new() };
        Ok(Response::new(LeaseTimeToLiveResponse { header, id, ttl, granted_ttl: lease.ttl, keys }))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let view = self.0.view(false).await?;
        let leases = self.0.lessor.by_end(&view.leases().map_err(storage)?);
        let leases = leases.into_iter().map(|id| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: Some(self.0.header(view.revision())), leases }))
    }
}
