//! Leases: granting, revoking, and a task that keeps one alive until its [`LeaseKeeper`] is dropped.

use std::time::Duration;

use kv_api::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{Client, Error, Result, client::Kind};

/// The least time for one renewal.
const LEAST: Duration = Duration::from_millis(500);

impl Client {
    /// A new lease of `ttl` (rounded up to seconds); `id` 0 lets the cluster choose.
    pub async fn lease_grant(&self, ttl: Duration, id: i64) -> Result<LeaseGrantResponse> {
        let seconds = ttl.as_millis().div_ceil(1000).max(1) as i64;
        let request = LeaseGrantRequest { ttl: seconds, id };
        self.call(Kind::Write, |channel| async move { Self::leases(channel).lease_grant(request).await })
            .await
    }

    /// Ends a lease; its keys go.
    pub async fn lease_revoke(&self, id: i64) -> Result<()> {
        let request = LeaseRevokeRequest { id };
        self.call(Kind::Write, |channel| async move { Self::leases(channel).lease_revoke(request).await })
            .await?;
        Ok(())
    }

    /// Remaining life of a lease, with its keys if asked. A TTL of -1 means that it is gone.
    pub async fn lease_time_to_live(&self, id: i64, keys: bool) -> Result<LeaseTimeToLiveResponse> {
        let request = LeaseTimeToLiveRequest { id, keys };
        self.call(
            Kind::Read,
            |channel| async move { Self::leases(channel).lease_time_to_live(request).await },
        )
        .await
    }

    /// Renews a lease once; answers the remaining seconds, 0 when the lease is gone.
    pub async fn lease_keep_alive_once(&self, id: i64) -> Result<i64> {
        let renew = |channel| async move {
            let requests = tokio_stream::once(LeaseKeepAliveRequest { id });
            let mut replies = Self::leases(channel).lease_keep_alive(requests).await?.into_inner();
            let reply = replies.message().await?;
            Ok(tonic::Response::new(reply.unwrap_or_default().ttl))
        };
        self.call(Kind::Read, renew).await
    }

    /// Grants a lease and keeps it alive from now on.
    ///
    /// # Errors
    /// When the lease cannot be granted.
    pub async fn lease(&self, ttl: Duration) -> Result<LeaseKeeper> {
        let granted = self.lease_grant(ttl, 0).await?;
        Ok(self.keep_alive(granted.id, Duration::from_secs(granted.ttl.max(1) as u64)))
    }

    /// Keeps an existing lease alive, renewing it four times per TTL.
    #[must_use]
    pub fn keep_alive(&self, id: i64, ttl: Duration) -> LeaseKeeper {
        let (lost, is_lost) = watch::channel(false);
        let client = self.clone();
        let task = tokio::spawn(async move {
            renew_until_lost(&client, id, ttl).await;
            let _ = lost.send(true);
        });
        LeaseKeeper { id, client: self.clone(), is_lost, task }
    }
}

/// A lease that lives as long as this value (and then until its TTL runs out).
pub struct LeaseKeeper {
    id: i64,
    client: Client,
    is_lost: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl LeaseKeeper {
    /// The lease's id.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Whether the lease is known to be gone, or could not be renewed for its whole TTL.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.is_lost.borrow()
    }

    /// Returns when the lease is lost.
    pub async fn lost(&self) -> Error {
        let _ = self.is_lost.clone().wait_for(|lost| *lost).await;
        Error::LeaseLost(self.id)
    }

    /// Ends the lease now; its keys go.
    pub async fn revoke(self) -> Result<()> {
        self.task.abort();
        self.client.lease_revoke(self.id).await
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn renew_until_lost(client: &Client, id: i64, ttl: Duration) {
    let mut valid_until = Instant::now() + ttl;
    loop {
        let pause = ttl / 4;
        tokio::time::sleep(pause).await;
        loop {
            let sent = Instant::now();
            // An endpoint that says nothing must leave time to try another.
            match tokio::time::timeout(pause.max(LEAST), client.lease_keep_alive_once(id)).await {
                Ok(Ok(seconds)) if seconds > 0 => {
                    valid_until = sent + Duration::from_secs(seconds as u64);
                    break;
                }
                Ok(Ok(_)) => return,
                Ok(Err(error)) => tracing::debug!(%error, lease = id, "lease not renewed, trying again"),
                Err(_) => {
                    tracing::debug!(lease = id, "lease not renewed in time, trying elsewhere");
                    client.move_on();
                }
            }
            if Instant::now() >= valid_until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
