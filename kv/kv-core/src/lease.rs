//! Leases as the log knows them: who exists, with which keys. When they expire is the leader's business; it then
//! proposes a revocation. Here is no clock.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use kv_api::{
    ErrorKind,
    etcdserverpb::{LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeResponse},
    internal::LeaseCheckpoint,
};

use crate::{
    Failure, State, View,
    layout::{self, Space},
};

/// etcd's largest time to live, in seconds.
const MAX_TTL: i64 = 9_000_000_000;

/// A lease that was granted and not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRecord {
    pub id: i64,
    /// Granted time to live, seconds.
    pub ttl: i64,
    /// What the last checkpoint says is left, seconds; 0 when there was none.
    pub remaining: i64,
}

impl State {
    pub(crate) fn lease_grant(&mut self, request: &LeaseGrantRequest) -> Result<LeaseGrantResponse, Failure> {
        self.refuse_when_full()?;
        if request.ttl > MAX_TTL {
            return Err(ErrorKind::LeaseTtlTooLarge.into());
        }
        if self.view.lease(request.id)?.is_some() {
            return Err(ErrorKind::LeaseExist.into());
        }
        self.set_lease(LeaseRecord { id: request.id, ttl: request.ttl, remaining: 0 });
        Ok(LeaseGrantResponse { header: None, id: request.id, ttl: request.ttl, error: String::new() })
    }

    /// Deletes the lease and its keys, all in one revision.
    pub(crate) fn lease_revoke(&mut self, id: i64) -> Result<LeaseRevokeResponse, Failure> {
        if self.view.lease(id)?.is_none() {
            return Err(ErrorKind::LeaseNotFound.into());
        }
        for key in self.view.lease_keys(id)? {
            if let Some(generation) = self.view.current(Space::V3, &key)? {
                self.delete(Space::V3, key, generation);
            }
        }
        self.unset(layout::numbered(layout::LEASE, id));
        Ok(LeaseRevokeResponse { header: None })
    }

    pub(crate) fn lease_checkpoint(&mut self, checkpoint: &LeaseCheckpoint) -> Result<(), Failure> {
        let Some(lease) = self.view.lease(checkpoint.id)? else { return Ok(()) };
        self.set_lease(LeaseRecord { remaining: checkpoint.remaining_ttl, ..lease });
        Ok(())
    }

    fn set_lease(&mut self, lease: LeaseRecord) {
        let mut value = BytesMut::with_capacity(16);
        value.put_i64(lease.ttl);
        value.put_i64(lease.remaining);
        self.set(layout::numbered(layout::LEASE, lease.id), value.freeze());
    }
}

impl View {
    /// The lease with this id.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn lease(&self, id: i64) -> io::Result<Option<LeaseRecord>> {
        self.get(&layout::numbered(layout::LEASE, id))?.map(|value| decode(id, &value)).transpose()
    }

    /// All leases, by id.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn leases(&self) -> io::Result<Vec<LeaseRecord>> {
        let entries = self.scan(&[layout::LEASE], &[layout::LEASE + 1])?;
        entries
            .map(|entry| {
                let (key, value) = entry?;
                let id =
                    key.get(1..).and_then(|id| id.try_into().ok()).ok_or_else(|| layout::damaged("lease"))?;
                decode(i64::from_be_bytes(id), &value)
            })
            .collect()
    }

    /// The keys that go with a lease.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn lease_keys(&self, id: i64) -> io::Result<Vec<Bytes>> {
        let start = layout::lease_key(id, &[]);
        let end = kv_api::prefix_end(&start);
        self.scan(&start, &end)?.map(|entry| Ok(entry?.0.slice(9..))).collect()
    }
}

fn decode(id: i64, value: &[u8]) -> io::Result<LeaseRecord> {
    let number = |at: usize| Some(i64::from_be_bytes(value.get(at..at + 8)?.try_into().ok()?));
    let read = || Some(LeaseRecord { id, ttl: number(0)?, remaining: number(8)? });
    read().ok_or_else(|| layout::damaged("lease"))
}
