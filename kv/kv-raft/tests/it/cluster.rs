//! A cluster in one thread: real members on simulated disks and a simulated network, under a clock that jumps. All
//! that goes wrong is drawn from one seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use kv_core::View;
use kv_raft::{BoxFuture, Kind, LogStore, Machine, Mode, Node, Options, Peer, Transport, TypeConfig, image};
use kv_store::MemoryStore;
use kv_wal::{
    Wal,
    sim::{Faults, SimDisk, Unsynced},
};
use openraft::raft::{VoteRequest, VoteResponse};

use crate::history::Writes;

/// A small generator of its own, so that a seed means the same everywhere.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below.max(1)
    }
}

struct Network {
    dice: Dice,
    nodes: BTreeMap<u64, Node>,
    /// Pairs (from, to) between which nothing passes.
    cut: BTreeSet<(u64, u64)>,
    /// Lost messages in a thousand.
    loss: u64,
    votes: Votes,
}

/// The votes that members were seen to give. A vote for (term, candidate) rules out every smaller one.
#[derive(Default)]
pub(crate) struct Votes {
    given: BTreeMap<u64, (u64, u64)>,
    pub(crate) broken: Option<String>,
}

impl Votes {
    pub(crate) fn saw(&mut self, voter: u64, term: u64, candidate: u64) {
        let vote = (term, candidate);
        let before = self.given.insert(voter, vote);
        if let Some(before) = before.filter(|before| *before > vote) {
            self.broken = Some(format!("member {voter} gave its vote to {vote:?} after {before:?}"));
        }
    }

    fn overheard(&mut self, voter: u64, request: &[u8], answer: &[u8]) {
        let request: Result<VoteRequest<TypeConfig>, _> = postcard::from_bytes(request);
        let answer: Result<VoteResponse<TypeConfig>, _> = postcard::from_bytes(answer);
        if let (Ok(request), Ok(answer)) = (request, answer)
            && answer.vote_granted
        {
            let leader = request.vote.leader_id;
            self.saw(voter, leader.term, leader.node_id);
        }
    }
}

#[derive(Clone)]
struct Wire {
    from: u64,
    network: Arc<Mutex<Network>>,
}

impl Wire {
    /// One way of a message: its delay, or nothing when it is lost.
    fn pass(&self, from: u64, to: u64) -> Option<Duration> {
        let mut network = self.network.lock().expect("no panics inside");
        let lost = network.loss;
        if network.cut.contains(&(from, to)) || network.dice.roll(1000) < lost {
            return None;
        }
        Some(Duration::from_micros(200 + network.dice.roll(3000)))
    }

    async fn travel(&self, from: u64, to: u64, limit: Duration) -> io::Result<()> {
        match self.pass(from, to) {
            Some(delay) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            None => {
                tokio::time::sleep(limit.min(Duration::from_millis(300))).await;
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }

    fn target(&self, to: u64) -> io::Result<Node> {
        let network = self.network.lock().expect("no panics inside");
        network.nodes.get(&to).cloned().ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }
}

impl Transport for Wire {
    fn call<'a>(
        &'a self,
        to: u64,
        _: &'a Peer,
        kind: Kind,
        payload: Bytes,
        limit: Duration,
    ) -> BoxFuture<'a, io::Result<Bytes>> {
        Box::pin(async move {
            self.travel(self.from, to, limit).await?;
            let target = self.target(to)?;
            let vote = (kind == Kind::Vote).then(|| payload.clone());
            let answer = tokio::time::timeout(limit, target.answer(kind, payload)).await;
            let answer =
                answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)?;
            if let Some(request) = vote {
                let mut network = self.network.lock().expect("no panics inside");
                network.votes.overheard(to, &request, &answer);
            }
            self.travel(to, self.from, limit).await?;
            Ok(answer)
        })
    }

    fn send_image<'a>(
        &'a self,
        to: u64,
        _: &'a Peer,
        head: Bytes,
        view: View,
    ) -> BoxFuture<'a, io::Result<Bytes>> {
        Box::pin(async move {
            self.travel(self.from, to, Duration::from_secs(1)).await?;
            let target = self.target(to)?;
            let mut incoming = target.begin_image()?;
            for piece in image::pieces(&view)? {
                incoming.add(image::pairs(piece?)?)?;
            }
            target.install_image(head, incoming.finish()?).await.map_err(io::Error::other)
        })
    }
}

/// What of a member survives it.
#[derive(Clone, Default)]
struct Stored {
    disk: SimDisk,
    store: MemoryStore,
}

/// The cluster, and the hand that breaks it.
pub(crate) struct Cluster {
    network: Arc<Mutex<Network>>,
    stored: BTreeMap<u64, Stored>,
    options: Options,
}

impl Cluster {
    pub(crate) async fn start(size: u64, seed: u64, options: Options) -> Self {
        let network = Network {
            dice: Dice::new(seed),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            loss: 0,
            votes: Votes::default(),
        };
        let stored = (1..=size).map(|id| (id, Stored::default())).collect();
        let mut cluster = Self { network: Arc::new(Mutex::new(network)), stored, options };
        for id in 1..=size {
            cluster.boot(id).await;
        }
        cluster
    }

    fn peers(&self) -> BTreeMap<u64, Peer> {
        let peer = |id: &u64| Peer { name: format!("m{id}"), urls: vec![format!("sim://{id}")] };
        self.stored.keys().map(|id| (*id, peer(id))).collect()
    }

    pub(crate) async fn boot(&mut self, id: u64) {
        let Stored { disk, store } = self.stored[&id].clone();
        let wal =
            Wal::open(Arc::new(disk), kv_wal::Options { segment_bytes: 32 << 10 }).expect("the log is whole");
        let log = LogStore::open(wal, Mode::Inline).expect("the log is ours");
        let machine = Machine::open(Arc::new(store)).expect("the state is ours");
        let wire = Wire { from: id, network: self.network.clone() };
        let node = Node::start(id, self.options.clone(), log, machine, Arc::new(wire)).await.expect("starts");
        self.network.lock().expect("no panics inside").nodes.insert(id, node.clone());
        node.found(self.peers()).await.expect("founds");
    }

    /// The power of a member goes.
    pub(crate) async fn crash(&mut self, id: u64) {
        let node = self.network.lock().expect("no panics inside").nodes.remove(&id);
        if let Some(node) = node {
            node.kill().await;
            self.stored[&id].disk.crash(Unsynced::Lost);
        }
    }

    /// What is wrong with the votes that were given so far.
    pub(crate) fn broken_votes(&self) -> Option<String> {
        self.network.lock().expect("no panics inside").votes.broken.clone()
    }

    /// The vote a member has on its disk.
    pub(crate) fn stored_vote(&self, id: u64) -> Option<Bytes> {
        let disk = self.stored[&id].disk.copy();
        let wal = Wal::open(Arc::new(disk), kv_wal::Options { segment_bytes: 32 << 10 }).expect("whole");
        wal.slots().get(0).cloned()
    }

    /// A planted bug: the member's vote was never written since then.
    pub(crate) fn forget_vote(&self, id: u64, before: Bytes) {
        let disk = self.stored[&id].disk.clone();
        let mut wal = Wal::open(Arc::new(disk), kv_wal::Options { segment_bytes: 32 << 10 }).expect("whole");
        wal.write(&[kv_wal::Record::Slot(0, before)]).expect("healthy");
    }

    pub(crate) fn set_faults(&self, id: u64, faults: Faults) {
        self.stored[&id].disk.set_faults(faults);
    }

    pub(crate) fn is_up(&self, id: u64) -> bool {
        self.network.lock().expect("no panics inside").nodes.contains_key(&id)
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.network.lock().expect("no panics inside").nodes.values().cloned().collect()
    }

    pub(crate) fn leader(&self) -> Option<Node> {
        let leaders = self.nodes().into_iter().filter(Node::is_leader);
        leaders.max_by_key(|node| node.status().term)
    }

    /// From now on nothing passes between these and the rest; `one_way` lets the rest still speak to them.
    pub(crate) fn isolate(&self, ids: &[u64], one_way: bool) {
        let mut network = self.network.lock().expect("no panics inside");
        for a in self.stored.keys().filter(|id| ids.contains(id)) {
            for b in self.stored.keys().filter(|id| !ids.contains(id)) {
                network.cut.insert((*a, *b));
                if !one_way {
                    network.cut.insert((*b, *a));
                }
            }
        }
    }

    pub(crate) fn heal(&self) {
        let mut network = self.network.lock().expect("no panics inside");
        network.cut.clear();
        network.loss = 0;
    }

    pub(crate) fn lose(&self, in_a_thousand: u64) {
        self.network.lock().expect("no panics inside").loss = in_a_thousand;
    }
}

/// The history that a state holds.
pub(crate) fn written(last: &View) -> Result<Writes, String> {
    let (changes, _) = last.changes(2, usize::MAX).map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut writes = Writes::new();
    for change in &changes {
        let pair = change.event.kv.clone().unwrap_or_default();
        writes.entry(text(&pair.key)).or_default().insert(pair.mod_revision, text(&pair.value));
    }
    Ok(writes)
}
