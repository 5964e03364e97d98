//! What the scheduler writes: moves of units, in transactions that fail when it no longer leads.

use std::time::Duration;

use fleet_unit::UnitName;
use kv_client::pb::{TxnResponse, response_op::Response};
use kv_client::{KeyValue, LeaseKeeper, Ownership, Txn, op};

use crate::registry::json;
use crate::{Assignment, Key, Registry, RegistryError};

/// Operations in one transaction; etcd allows 128.
pub(crate) const OPS_PER_TXN: usize = 120;

/// The right to schedule, as long as it lasts.
pub struct Lead {
    lease: LeaseKeeper,
    ownership: Ownership,
}

impl Lead {
    /// Grows with every scheduler of the cluster: what fences an old one.
    #[must_use]
    pub fn fence(&self) -> i64 {
        self.ownership.fence
    }

    /// Returns when the lead is lost.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// Gives the lead to the next, at once.
    pub async fn resign(self) {
        if let Err(error) = self.lease.revoke().await {
            tracing::debug!(%error, "could not resign; the lease will run out");
        }
    }
}

/// One change of the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which unit.
    pub unit: UnitName,
    /// The machine that loses it.
    pub from: Option<String>,
    /// The machine that gets it, or hears of its new content or target state.
    pub to: Option<(String, Assignment)>,
}

impl Registry {
    /// Waits until this process leads the scheduling of the cluster; `who` is for people to read.
    ///
    /// # Errors
    /// The store does not answer, or the lease ran out while waiting.
    pub async fn lead(&self, who: &str, ttl: Duration) -> Result<Lead, RegistryError> {
        let lease = self.client.lease(ttl).await?;
        let ownership = self.client.campaign(&self.keys.scheduler(), &lease, who.to_owned()).await?;
        Ok(Lead { lease, ownership })
    }

    /// Who leads now, in its own words.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn leader(&self) -> Result<Option<String>, RegistryError> {
        let pair = self.client.leader(&self.keys.scheduler()).await?;
        Ok(pair.as_ref().map(crate::registry::text))
    }

    /// Writes moves, many in one transaction: a unit that changes machines is never on both.
    ///
    /// # Errors
    /// [`RegistryError::Deposed`] when another leads; then nothing of the failing transaction is written.
    pub async fn apply_moves(&self, moves: &[Move], lead: &Lead) -> Result<(), RegistryError> {
        let mut ops = Vec::with_capacity(OPS_PER_TXN);
        for change in moves {
            let of_this = self.ops_of(change);
            if ops.len() + of_this.len() > OPS_PER_TXN {
                self.commit(std::mem::take(&mut ops), lead).await?;
            }
            ops.extend(of_this);
        }
        if ops.is_empty() { Ok(()) } else { self.commit(ops, lead).await }
    }

    fn ops_of(&self, change: &Move) -> Vec<kv_client::pb::RequestOp> {
        let key = |machine: &str| self.keys.text(&Key::Schedule(machine.to_owned(), change.unit.clone()));
        let mut ops = Vec::with_capacity(2);
        // The store refuses a transaction that names a key twice.
        let stays = change.from.as_deref() == change.to.as_ref().map(|(machine, _)| machine.as_str());
        if let Some(from) = change.from.as_deref().filter(|_| !stays) {
            ops.push(op::delete(key(from)));
        }
        if let Some((to, assignment)) = &change.to {
            ops.push(op::put(key(to), json(assignment)));
        }
        ops
    }

    async fn commit(&self, ops: Vec<kv_client::pb::RequestOp>, lead: &Lead) -> Result<(), RegistryError> {
        let txn = Txn::new().when([lead.ownership.still_ours()]).then(ops);
        if self.client.txn(txn).await?.succeeded { Ok(()) } else { Err(RegistryError::Deposed) }
    }
}

/// All pairs that the reads of a transaction found.
pub(crate) fn pairs(answer: TxnResponse) -> Vec<KeyValue> {
    answer
        .responses
        .into_iter()
        .filter_map(|response| match response.response {
            Some(Response::ResponseRange(range)) => Some(range.kvs),
            _ => None,
        })
        .flatten()
        .collect()
}
