//! openraft's state machine on `kv-core`.
//!
//! The state lives in one lock, taken for a batch of entries at a time. A [`View`] of it is published after a batch if
//! the last one was looked at: to keep one has its price, for what a view shares must be copied to be changed. Who finds
//! none takes the lock for as long as it takes to make one. What is stored, and when, is `flush`'s business.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use kv_api::{etcdserverpb::Member, internal::Batch};
use kv_core::{Change, Space, State, View};
use kv_store::{Collected, Store};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use prost::Message as _;
use tokio::sync::watch;

use crate::{
    Image, Replies, TypeConfig,
    entry::{decode, encode},
    image,
    timing::Timing,
    types::{LogId, Membership, Meta, Snapshot},
};

const APPLIED: &str = "applied";
const MEMBERSHIP: &str = "membership";

pub(crate) struct Live {
    pub(crate) state: State,
    pub(crate) applied: Option<LogId>,
    membership: Membership,
}

/// What was applied since the member started.
#[derive(Debug, Default)]
pub struct Applied {
    pub puts: AtomicU64,
    pub deletes: AtomicU64,
    /// Operations that changed more than one key.
    pub transactions: AtomicU64,
}

impl Applied {
    fn count(&self, changes: &[Change]) {
        let (mut puts, mut deletes, mut transactions) = (0, 0, 0);
        let ours = |change: &&Change| change.space == Space::V3;
        for one in changes.chunk_by(|a, b| a.revision() == b.revision()) {
            let all = one.iter().filter(ours).count();
            let gone = one.iter().filter(ours).filter(|change| change.is_deletion()).count();
            puts += all - gone;
            deletes += gone;
            transactions += usize::from(all > 1);
        }
        for (counter, more) in
            [(&self.puts, puts), (&self.deletes, deletes), (&self.transactions, transactions)]
        {
            counter.fetch_add(more as u64, Ordering::Relaxed);
        }
    }
}

/// What the state machine shares with readers.
pub(crate) struct Shared {
    live: Mutex<Live>,
    pub(crate) store: Arc<dyn Store>,
    /// The state after the last batch; none when nobody looked at the one before.
    view: RwLock<Option<View>>,
    looked_at: AtomicBool,
    /// Of the state after the last batch.
    pub(crate) revision: AtomicI64,
    pub(crate) compacted: AtomicI64,
    pub(crate) live_bytes: AtomicI64,
    /// One more than the index applied last; moves after the view did.
    pub(crate) applied: watch::Sender<u64>,
    /// Taken while the store is written, so that one does it at a time.
    storing: Mutex<()>,
    pub(crate) stores: Timing,
    pub(crate) counts: Applied,
}

/// The state machine. Clones are handles to the same.
#[derive(Clone)]
pub struct Machine(pub(crate) Arc<Shared>);

impl Machine {
    /// Goes on from what is stored.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(store: Arc<dyn Store>) -> io::Result<Self> {
        let live = load(&*store)?;
        let view = live.state.view().clone();
        let (applied, _) = watch::channel(live.applied.map_or(0, |id| id.index + 1));
        Ok(Self(Arc::new(Shared {
            live: Mutex::new(live),
            store,
            revision: AtomicI64::new(view.revision()),
            compacted: AtomicI64::new(view.compacted()),
            live_bytes: AtomicI64::new(view.live_bytes()),
            view: RwLock::new(Some(view)),
            looked_at: AtomicBool::new(false),
            applied,
            storing: Mutex::new(()),
            stores: Timing::default(),
            counts: Applied::default(),
        })))
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state after the entries applied so far.
    #[must_use]
    pub fn view(&self) -> View {
        self.0.looked_at.store(true, Ordering::Relaxed);
        if let Some(view) = &*self.0.view.read().unwrap_or_else(PoisonError::into_inner) {
            return view.clone();
        }
        let live = self.live();
        let view = live.state.view().clone();
        *self.published() = Some(view.clone());
        view
    }

    fn published(&self) -> RwLockWriteGuard<'_, Option<View>> {
        self.0.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, live: &Live) {
        let view = live.state.view();
        let looked_at = self.0.looked_at.swap(false, Ordering::Relaxed);
        let before = std::mem::replace(&mut *self.published(), looked_at.then(|| view.clone()));
        drop(before);
        self.0.revision.store(view.revision(), Ordering::Release);
        self.0.compacted.store(view.compacted(), Ordering::Release);
        self.0.live_bytes.store(view.live_bytes(), Ordering::Release);
        let applied = live.applied.map_or(0, |id| id.index + 1);
        self.0.applied.send_replace(applied);
    }

    /// Stores the state durably; answers the position that is safe then.
    pub(crate) fn store(&self) -> io::Result<Option<LogId>> {
        let _one_at_a_time = self.0.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let (changes, applied) = {
            let mut live = self.live();
            if let Some(applied) = live.applied {
                let (applied, membership) = (encode(&applied)?, encode(&live.membership)?);
                live.state.set_meta(APPLIED, applied);
                live.state.set_meta(MEMBERSHIP, membership);
            }
            let changes = live.state.seal();
            self.publish(&live);
            (changes, live.applied)
        };
        let started = Instant::now();
        let base = self.0.store.store(&changes)?;
        self.0.stores.add(started.elapsed());
        let mut live = self.live();
        live.state.stored(base);
        self.publish(&live);
        Ok(applied)
    }

    /// Removes some compacted history; answers whether there may be more.
    pub(crate) fn sweep(&self, most: usize) -> io::Result<bool> {
        let mut live = self.live();
        let more = live.state.sweep(most)?;
        self.publish(&live);
        Ok(more)
    }

    fn snapshot(&self) -> io::Result<Snapshot> {
        let live = self.live();
        let meta = Meta { last_log_id: live.applied, last_membership: live.membership.clone() };
        let mut view = live.state.view().clone();
        view.annotate([(MEMBERSHIP, encode(&live.membership)?)]);
        if let Some(applied) = live.applied {
            view.annotate([(APPLIED, encode(&applied)?)]);
        }
        Ok(Snapshot { meta, snapshot: Image::View(view) })
    }

    fn collect(&self, image: Image) -> io::Result<Collected> {
        let view = match image {
            Image::Collected(collected) => return Ok(collected),
            Image::View(view) => view,
        };
        let mut incoming = self.0.store.begin()?;
        for piece in image::pieces(&view)? {
            incoming.add(image::pairs(piece?)?)?;
        }
        incoming.finish()
    }
}

fn load(store: &dyn Store) -> io::Result<Live> {
    let state = State::open(store.current()?)?;
    let read = |name: &str| state.view().meta(name);
    let applied = read(APPLIED)?.map(|bytes| decode(&bytes)).transpose()?;
    let membership = read(MEMBERSHIP)?.map(|bytes| decode(&bytes)).transpose()?.unwrap_or_default();
    Ok(Live { state, applied, membership })
}

impl Live {
    fn apply(&mut self, proposal: &Bytes, counts: &Applied) -> io::Result<Replies> {
        let batch = Batch::decode(proposal.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let replies = batch.ops.into_iter().map(|op| self.state.apply(op, batch.time_ms));
        let replies = Replies(replies.collect::<io::Result<_>>()?);
        counts.count(&self.state.take_changes());
        Ok(replies)
    }

    fn found(&mut self) -> io::Result<()> {
        let voters: Vec<u64> = self.membership.voter_ids().collect();
        let members: Vec<Member> = self
            .membership
            .nodes()
            .map(|(id, peer)| Member {
                id: *id,
                name: peer.name.clone(),
                peer_ur_ls: peer.urls.clone(),
                client_ur_ls: Vec::new(),
                is_learner: !voters.contains(id),
            })
            .collect();
        self.state.found(members)
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Image;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        let live = self.live();
        Ok((live.applied, live.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        while let Some(next) = entries.next().await {
            batch.push(next?);
            // Take what is there; waiting for more would keep clients waiting.
            while batch.len() < 64
                && let Some(Some(next)) = futures_util::FutureExt::now_or_never(entries.next())
            {
                batch.push(next?);
            }
            let mut answers = Vec::new();
            {
                let mut live = self.live();
                for (entry, responder) in batch.drain(..) {
                    let replies = match &entry.payload {
                        EntryPayload::Blank => Replies::default(),
                        EntryPayload::Normal(proposal) => live.apply(&proposal.0, &self.0.counts)?,
                        EntryPayload::Membership(membership) => {
                            live.membership = Membership::new(Some(entry.log_id), membership.clone());
                            live.found()?;
                            Replies::default()
                        }
                    };
                    live.applied = Some(entry.log_id);
                    if let Some(responder) = responder {
                        answers.push((responder, replies));
                    }
                }
                self.publish(&live);
            }
            for (responder, replies) in answers {
                responder.send(replies);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &Meta, snapshot: Image) -> Result<(), io::Error> {
        let collected = self.collect(snapshot)?;
        let _one_at_a_time = self.0.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live = self.live();
        self.0.store.replace(collected)?;
        *live = load(&*self.0.store)?;
        self.publish(&live);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        if self.live().applied.is_none() {
            return Ok(None);
        }
        self.snapshot().map(Some)
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.snapshot()
    }
}
