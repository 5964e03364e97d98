//! Locks and elections over plain keys, compatible with etcd's own recipes: `PREFIX/LEASE-IN-HEX`, the oldest
//! key owns. As with every lock by lease, the owner may lose it without noticing in time: use
//! [`Ownership::fence`] as a fencing token, or [`Ownership::still_ours`] in the transaction that must not happen
//! without ownership.

use bytes::Bytes;
use kv_api::{
    etcdserverpb::{
        Compare, RangeRequest,
        range_request::{SortOrder, SortTarget},
        response_op::Response,
    },
    mvccpb::KeyValue,
    prefix_end,
};

use crate::{Client, Error, LeaseKeeper, Result, Txn, WatchOptions, compare, op};

/// We own the lock, or lead.
#[derive(Debug, Clone)]
pub struct Ownership {
    /// Our key.
    pub key: Bytes,
    /// Its creation revision: grows with every owner, so it fences.
    pub fence: i64,
}

impl Ownership {
    /// A condition that holds as long as we own.
    #[must_use]
    pub fn still_ours(&self) -> Compare {
        compare::created_at(self.key.clone(), self.fence)
    }
}

impl Client {
    /// Waits until we lead the election `name`, with `value` for others to see.
    ///
    /// # Errors
    /// When the lease is lost while waiting, or the cluster refuses.
    pub async fn campaign(
        &self,
        name: &str,
        lease: &LeaseKeeper,
        value: impl Into<Bytes>,
    ) -> Result<Ownership> {
        let ours = self.stand(name, lease.id(), value.into()).await?;
        tokio::select! {
            waited = self.wait_for_older(name, &ours) => waited?,
            lost = lease.lost() => return Err(lost),
        }
        // The lease may have run out while we waited.
        match self.get(ours.key.clone()).await? {
            Some(pair) if pair.create_revision == ours.fence => Ok(ours),
            _ => Err(Error::LeaseLost(lease.id())),
        }
    }

    /// Waits until we hold the lock `name`.
    ///
    /// # Errors
    /// When the lease is lost while waiting, or the cluster refuses.
    pub async fn lock(&self, name: &str, lease: &LeaseKeeper) -> Result<Ownership> {
        self.campaign(name, lease, Bytes::new()).await
    }

    /// Takes the lock if it is free; `None` when another has it (we do not queue).
    pub async fn try_lock(&self, name: &str, lease: &LeaseKeeper) -> Result<Option<Ownership>> {
        let ours = self.stand(name, lease.id(), Bytes::new()).await?;
        match self.leader(name).await? {
            Some(pair) if pair.key == ours.key => Ok(Some(ours)),
            _ => {
                self.resign(&ours).await?;
                Ok(None)
            }
        }
    }

    /// Gives up the lock or the lead.
    pub async fn resign(&self, ours: &Ownership) -> Result<()> {
        self.txn(Txn::new().when([ours.still_ours()]).then([op::delete(ours.key.clone())])).await?;
        Ok(())
    }

    /// The pair of whoever leads `name` now.
    pub async fn leader(&self, name: &str) -> Result<Option<KeyValue>> {
        let key = Bytes::from(format!("{name}/"));
        let request = RangeRequest {
            range_end: prefix_end(&key),
            key,
            limit: 1,
            sort_order: SortOrder::Ascend.into(),
            sort_target: SortTarget::Create.into(),
            ..Default::default()
        };
        Ok(self.range(request).await?.kvs.pop())
    }

    async fn stand(&self, name: &str, lease: i64, value: Bytes) -> Result<Ownership> {
        let key = Bytes::from(format!("{name}/{lease:x}"));
        let txn = Txn::new()
            .when([compare::absent(key.clone())])
            .then([op::put_leased(key.clone(), value, lease)])
            .or_else([op::get(key.clone())]);
        let reply = self.txn(txn).await?;
        let revision = reply.header.unwrap_or_default().revision;
        let standing = reply.responses.into_iter().find_map(|r| match r.response {
            Some(Response::ResponseRange(mut range)) => range.kvs.pop(),
            _ => None,
        });
        let fence =
            if reply.succeeded { revision } else { standing.map_or(revision, |pair| pair.create_revision) };
        Ok(Ownership { key, fence })
    }

    /// Returns when no key under the name is older than ours. Watches only the next older one, so that a
    /// resignation wakes one waiter, not all.
    async fn wait_for_older(&self, name: &str, ours: &Ownership) -> Result<()> {
        let prefix = Bytes::from(format!("{name}/"));
        loop {
            let request = RangeRequest {
                key: prefix.clone(),
                range_end: prefix_end(&prefix),
                limit: 1,
                max_create_revision: ours.fence - 1,
                sort_order: SortOrder::Descend.into(),
                sort_target: SortTarget::Create.into(),
                ..Default::default()
            };
            let older = self.range(request).await?;
            let Some(pair) = older.kvs.first() else { return Ok(()) };
            let from = older.header.unwrap_or_default().revision + 1;
            let mut watch = self.watch(WatchOptions::key(pair.key.clone()).from_revision(from)).await?;
            loop {
                let gone = |e: &kv_api::mvccpb::Event| e.r#type() == kv_api::mvccpb::event::EventType::Delete;
                if watch.next().await?.events.iter().any(gone) {
                    break;
                }
            }
        }
    }
}
