//! One member: what others call. The parts that work on their own are started here and end with it.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use kv_api::{
    ErrorKind,
    internal::{Op, Reply},
};
use kv_core::View;
use kv_store::{Collected, Incoming};
use openraft::{
    Config, Raft, SnapshotPolicy, async_runtime::watch::WatchReceiver, errors::InitializeError,
    raft::AppendEntriesResponse,
};
use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    Applied, Image, Kind, LogStore, Machine, Peer, Transport, TypeConfig,
    batch::{self, Gathering},
    contact::Contact,
    entry::{decode, encode},
    flush,
    network::Network,
    read, reconcile,
    timing::Timing,
    types::{Meta, Snapshot, Vote},
};

/// How a member behaves in time.
#[derive(Debug, Clone)]
pub struct Options {
    pub heartbeat: Duration,
    /// Without a heartbeat for this long (and up to half as long again), a member stands for election.
    pub election: Duration,
    /// A proposal or read that is not done by then is given up.
    pub request_timeout: Duration,
    /// The state is stored at least this often while it changes.
    pub flush_interval: Duration,
    /// Entries of the log that are kept behind what is stored, and how many are purged at once at least.
    pub kept_entries: u64,
    pub purge_step: u64,
    /// Fewer entries are kept when these would take more than so many bytes.
    pub kept_bytes: u64,
    /// A read waits for a quorum to confirm the leader. Only a test that must fail turns this off.
    pub confirm_reads: bool,
    /// The proposer's clock, milliseconds since 1970.
    pub clock: fn() -> i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election: Duration::from_millis(1000),
            request_timeout: Duration::from_secs(7),
            flush_interval: Duration::from_secs(1),
            kept_entries: flush::KEPT_ENTRIES,
            purge_step: flush::PURGE_STEP,
            kept_bytes: flush::KEPT_BYTES,
            confirm_reads: true,
            clock: wall_clock,
        }
    }
}

fn wall_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Why a member could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the timing of elections is not possible")]
    Timing(#[source] openraft::ConfigError),
    #[error("could not start from what is stored: {0}")]
    Stored(String),
}

/// What a member knows of the cluster now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub id: u64,
    pub term: u64,
    pub leader: Option<u64>,
    /// Index of the last entry of the log, counted as etcd does, from 1.
    pub last_index: u64,
    pub applied_index: u64,
    pub is_voter: bool,
    /// Leader only: index each other member is known to have.
    pub matched: BTreeMap<u64, u64>,
}

pub(crate) type RaftHandle = Raft<TypeConfig, Machine>;

pub(crate) struct Inner {
    pub(crate) id: u64,
    pub(crate) raft: RaftHandle,
    pub(crate) machine: Machine,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) options: Options,
    pub(crate) proposals: Gathering,
    pub(crate) reads: mpsc::Sender<oneshot::Sender<Result<u64, ErrorKind>>>,
    pub(crate) log: kv_wal::Reader,
    pub(crate) contact: Contact,
    log_writes: Arc<Timing>,
    /// The term and the end of the log that this member woke up with.
    pub(crate) woke: (u64, u64),
    tasks: Mutex<JoinSet<()>>,
}

/// A member. Clones are handles to the same.
#[derive(Clone)]
pub struct Node(pub(crate) Arc<Inner>);

impl Node {
    /// Starts a member on its log and state. It waits for others to call, or for [`Node::found`].
    ///
    /// # Errors
    /// When what is stored cannot be used.
    pub async fn start(
        id: u64,
        options: Options,
        log: LogStore,
        machine: Machine,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config(&options).map_err(StartError::Timing)?);
        let network = Network(transport.clone());
        let (log_writes, woke, on_disk) = (log.writes(), log.end(), log.reader());
        let raft = Raft::new(id, config, network, log, machine.clone())
            .await
            .map_err(|fatal| StartError::Stored(fatal.to_string()))?;
        let (reads, readers) = mpsc::channel(16 << 10);
        let tasks = Mutex::new(JoinSet::new());
        let node = Self(Arc::new(Inner {
            id,
            raft,
            machine,
            transport,
            options,
            proposals: Gathering::default(),
            reads,
            log: on_disk,
            contact: Contact::default(),
            log_writes,
            woke,
            tasks,
        }));
        {
            let mut tasks = node.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn(batch::run(node.clone()));
            tasks.spawn(read::run(node.clone(), readers));
            tasks.spawn(flush::run(node.clone()));
            tasks.spawn(reconcile::run(node.clone()));
        }
        Ok(node)
    }

    /// This member's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Founds a cluster of these voters. All founders say the same; those that have a log already go on with it.
    ///
    /// # Errors
    /// When the member stopped.
    pub async fn found(&self, members: BTreeMap<u64, Peer>) -> io::Result<()> {
        match self.0.raft.initialize(members).await {
            Ok(()) => Ok(()),
            Err(error) => match error.api_error() {
                Some(InitializeError::NotAllowed(_)) => Ok(()),
                _ => Err(io::Error::other(error.to_string())),
            },
        }
    }

    /// Performs an operation on the whole cluster, wherever the leader is. A reply may be a refusal.
    ///
    /// # Errors
    /// When its fate is not known within the request timeout, or there is no leader.
    pub async fn propose(&self, op: Op) -> Result<Reply, ErrorKind> {
        batch::propose(self, op).await
    }

    /// A view that has everything that was acknowledged before this call.
    ///
    /// # Errors
    /// When no quorum confirms that within the request timeout.
    pub async fn linearizable(&self) -> Result<View, ErrorKind> {
        let index = self.read_index().await?;
        let mut applied = self.applied();
        let limit = self.0.options.request_timeout;
        // What it waited for is let go here: nobody may hold it who takes the state's lock, as for a view.
        let reached = tokio::time::timeout(limit, applied.wait_for(|next| *next > index)).await;
        let reached = reached.is_ok_and(|moved| moved.is_ok());
        if reached { Ok(self.view()) } else { Err(ErrorKind::Timeout) }
    }

    pub(crate) async fn read_index(&self) -> Result<u64, ErrorKind> {
        let (sender, receiver) = oneshot::channel();
        self.0.reads.try_send(sender).map_err(|_| ErrorKind::TooManyRequests)?;
        receiver.await.unwrap_or(Err(ErrorKind::Stopped))
    }

    /// The state as this member knows it, perhaps behind.
    #[must_use]
    pub fn view(&self) -> View {
        self.0.machine.view()
    }

    /// The revision of [`Node::view`], for less than a view costs.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.0.machine.0.revision.load(Ordering::Acquire)
    }

    /// From where on [`Node::view`] has history, for less than a view costs.
    #[must_use]
    pub fn compacted(&self) -> i64 {
        self.0.machine.0.compacted.load(Ordering::Acquire)
    }

    /// What [`Node::view`] counts against the quota, for less than a view costs.
    #[must_use]
    pub fn live_bytes(&self) -> i64 {
        self.0.machine.0.live_bytes.load(Ordering::Acquire)
    }

    /// Moves each time the view has moved; the value is the number of entries applied.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.0.machine.0.applied.subscribe()
    }

    /// Bytes the state takes on disk.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.0.machine.0.store.size()
    }

    /// How long writes of the log took, each with its sync; and storing the state.
    #[must_use]
    pub fn disk(&self) -> (&Timing, &Timing) {
        (&self.0.log_writes, &self.0.machine.0.stores)
    }

    /// What was applied since the member started.
    #[must_use]
    pub fn counts(&self) -> &Applied {
        &self.0.machine.0.counts
    }

    /// What this member knows of the cluster now.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.iter().flatten();
        Status {
            id: self.0.id,
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_index: metrics.last_log_index.map_or(0, |index| index + 1),
            applied_index: *self.0.machine.0.applied.borrow(),
            is_voter: metrics.membership_config.voter_ids().any(|id| id == self.0.id),
            matched: matched.filter_map(|(id, at)| Some((*id, at.as_ref()?.index + 1))).collect(),
        }
    }

    /// The term this member knows of.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.0.raft.metrics().borrow_watched().current_term
    }

    /// Who leads, as far as this member knows.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        self.0.raft.metrics().borrow_watched().current_leader
    }

    /// Whether this member leads, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.0.id)
    }

    /// Whether this member has a vote.
    #[must_use]
    pub fn votes(&self) -> bool {
        self.0.raft.metrics().borrow_watched().membership_config.voter_ids().any(|id| id == self.0.id)
    }

    /// Waits until somebody leads who is not `last`; none when the member stopped.
    pub async fn next_leader(&self, last: Option<u64>) -> Option<u64> {
        let mut metrics = self.0.raft.server_metrics();
        loop {
            let leader = metrics.borrow_watched().current_leader;
            if leader.is_some() && leader != last {
                return leader;
            }
            metrics.changed().await.ok()?;
        }
    }

    /// Hands leadership to another voter; returns when it leads.
    ///
    /// # Errors
    /// When this member does not lead, the other is no voter, or it does not take over in time.
    pub async fn move_leader(&self, to: u64) -> Result<(), ErrorKind> {
        if !self.is_leader() {
            return Err(ErrorKind::NotLeader);
        }
        if !self.0.raft.voter_ids().any(|id| id == to) {
            return Err(ErrorKind::BadLeaderTransferee);
        }
        if to == self.0.id {
            return Ok(());
        }
        self.0.raft.trigger().transfer_leader(to).await.map_err(|_| ErrorKind::Stopped)?;
        let limit = self.0.options.election * 4;
        let moved = async {
            while self.leader() != Some(to) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(limit, moved).await.map_err(|_| ErrorKind::TimeoutDueToLeaderFail)
    }

    /// Asks a member by a call of the application's own; the leader when `to` is none.
    ///
    /// # Errors
    /// When there is none, it does not answer, or it loses its lead meanwhile: then what was asked may be done.
    pub async fn ask(&self, to: Option<u64>, kind: Kind, payload: Bytes) -> Result<Bytes, ErrorKind> {
        let to = to.or_else(|| self.leader()).ok_or(ErrorKind::NoLeader)?;
        let peer = self.peer(to).ok_or(ErrorKind::NoLeader)?;
        let limit = self.0.options.request_timeout;
        let answer = tokio::select! {
            answer = self.0.transport.call(to, &peer, kind, payload, limit) => answer,
            // A leader whose machine is gone says nothing; its successor can be asked at once.
            () = self.deposed(to) => return Err(ErrorKind::TimeoutDueToLeaderFail),
        };
        answer.map_err(|error| match error.kind() {
            // Nothing was sent: there is no such leader any more.
            io::ErrorKind::NotConnected | io::ErrorKind::ConnectionRefused => ErrorKind::NoLeader,
            _ => error.to_string().parse().unwrap_or(ErrorKind::TimeoutDueToConnectionLost),
        })
    }

    /// Returns when a member that leads now does so no more; never for one that does not lead.
    async fn deposed(&self, id: u64) {
        let mut metrics = self.0.raft.metrics();
        let leads = |leader: Option<u64>| leader == Some(id);
        if !leads(metrics.borrow_watched().current_leader) {
            return std::future::pending().await;
        }
        while metrics.changed().await.is_ok() {
            if !leads(metrics.borrow_watched().current_leader) {
                return;
            }
        }
    }

    pub(crate) fn peer(&self, id: u64) -> Option<Peer> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.get_node(&id).cloned()
    }

    /// Answers a call of another member.
    ///
    /// # Errors
    /// A sentence for the caller: the name of an error, or what went wrong.
    pub async fn answer(&self, kind: Kind, payload: Bytes) -> Result<Bytes, String> {
        let raft = &self.0.raft;
        match kind {
            Kind::Append => {
                let answer = raft.append_entries(read_in(&payload)?).await;
                if !matches!(answer, Err(_) | Ok(AppendEntriesResponse::HigherVote(_))) {
                    self.0.contact.heard();
                }
                reply(answer)
            }
            Kind::Vote => reply(raft.vote(read_in(&payload)?).await),
            Kind::PreVote => reply(raft.pre_vote(read_in(&payload)?).await),
            Kind::Transfer => reply(raft.handle_transfer_leader(read_in(&payload)?).await),
            Kind::ReadIndex => read::answer(self).await,
            Kind::Propose => batch::answer(self, payload).await,
            Kind::KeepAlive | Kind::TimeToLive | Kind::Membership => Err("not a call of the log".to_owned()),
        }
    }

    /// Begins to receive a state.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn begin_image(&self) -> io::Result<Box<dyn Incoming>> {
        self.0.machine.0.store.begin()
    }

    /// Puts a received state in place.
    ///
    /// # Errors
    /// A sentence for the caller.
    pub async fn install_image(&self, head: Bytes, collected: Collected) -> Result<Bytes, String> {
        let (vote, meta): (Vote, Meta) = read_in(&head)?;
        let snapshot = Snapshot { meta, snapshot: Image::Collected(collected) };
        reply(self.0.raft.install_full_snapshot(vote, snapshot).await)
    }

    /// Returns when the member stopped by itself: its disk failed, or it met a bug. The process must end then.
    pub async fn stopped(&self) -> String {
        let mut metrics = self.0.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_watched().running_state {
                return fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                return "the log's core is gone".to_owned();
            }
        }
    }

    /// Ends everything at once, storing nothing: as if the process was killed.
    pub async fn kill(&self) {
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        let _ = self.0.raft.shutdown().await;
    }

    /// Ends everything, after storing the state.
    pub async fn shut_down(&self) {
        let _ = self.0.raft.shutdown().await;
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        if let Err(error) = self.0.machine.store() {
            tracing::warn!(%error, "could not store the state on the way out; the log still has it");
        }
    }
}

fn config(options: &Options) -> Result<Config, openraft::ConfigError> {
    let millis = |duration: Duration| duration.as_millis() as u64;
    Config {
        cluster_name: "kv".to_owned(),
        heartbeat_interval: millis(options.heartbeat),
        // A follower first lets the leader's lease run out, which is as long as the longest timeout, and then
        // waits its own: together between one and one and a half elections.
        election_timeout_min: millis(options.election) * 3 / 10,
        election_timeout_max: millis(options.election) * 3 / 4,
        install_snapshot_timeout: 600_000,
        max_payload_entries: 64,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX >> 1,
        enable_pre_vote: Some(true),
        ..Config::default()
    }
    .validate()
}

fn read_in<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    decode(payload).map_err(|error| error.to_string())
}

fn reply<T: Serialize, E: std::fmt::Display>(result: Result<T, E>) -> Result<Bytes, String> {
    let answer = result.map_err(|error| error.to_string())?;
    encode(&answer).map_err(|error| error.to_string())
}
