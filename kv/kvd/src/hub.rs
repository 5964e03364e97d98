//! Feeding watches. One task reads each change once and hands it to the watches it concerns.
//!
//! A watch is *synced* when it has everything up to where the hub is; it then gets changes as they come. It is
//! *behind* when it starts in the past, or its stream did not take a response in time; it is then fed from history,
//! a piece at a time, until it is synced again. So a slow client costs no memory and holds nobody up, and nothing is
//! lost or told twice: each watch has its own next revision.

mod response;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kv_api::{
    KeyRange,
    etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchResponse, watch_create_request::FilterType},
    mvccpb::event::EventType,
};
use kv_core::{Change, Space, View};
use kv_raft::Node;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, interval},
};
use tonic::Status;

use crate::metrics::{Metrics, Watching};
use response::{events, fragments, prefix};

/// Changes read from history at a time, for all or for one watch.
const PIECE: usize = 1000;
/// Bytes of history given to one watch at a time, as far as one revision has no more.
const PIECE_BYTES: usize = 8 << 20;

pub(crate) type Out = mpsc::Sender<Result<WatchResponse, Status>>;
/// Room for one answer: however far behind a stream is, what it asks is answered.
pub(crate) type Room = mpsc::OwnedPermit<Result<WatchResponse, Status>>;

/// What streams ask of the hub.
pub(crate) enum Ask {
    Create { stream: u64, request: WatchCreateRequest, room: Room },
    Cancel { stream: u64, watch_id: i64, room: Room },
    Progress { stream: u64, room: Room },
    Close { stream: u64 },
}

/// The way to the hub.
#[derive(Clone)]
pub(crate) struct HubHandle(pub(crate) mpsc::Sender<Ask>);

struct Watch {
    stream: u64,
    watch_id: i64,
    keys: KeyRange,
    puts: bool,
    deletes: bool,
    prev_kv: bool,
    progress: bool,
    /// Its responses come in fragments no larger than this.
    fragment: Option<usize>,
    /// First revision not told yet.
    next: i64,
    out: Out,
    told_at: Instant,
}

impl Watch {
    /// Sends a response whole, or nothing of it.
    fn tell(&self, response: WatchResponse) -> Result<(), TrySendError<()>> {
        let pieces = match self.fragment {
            Some(most) => fragments(response, most),
            None => vec![response],
        };
        if pieces.len() == 1 || pieces.len() > self.out.max_capacity() {
            let whole = pieces.into_iter().reduce(|mut whole, piece| {
                whole.events.extend(piece.events);
                WatchResponse { events: whole.events, ..piece }
            });
            return match whole {
                Some(whole) => self.out.try_send(Ok(whole)).map_err(|error| match error {
                    TrySendError::Full(_) => TrySendError::Full(()),
                    TrySendError::Closed(_) => TrySendError::Closed(()),
                }),
                None => Ok(()),
            };
        }
        for (room, piece) in self.out.try_reserve_many(pieces.len())?.zip(pieces) {
            room.send(Ok(piece));
        }
        Ok(())
    }

    fn wants(&self, change: &Change) -> bool {
        let kind = match change.event.r#type() {
            EventType::Put => self.puts,
            EventType::Delete => self.deletes,
        };
        kind && change.space == Space::V3
            && change.revision() >= self.next
            && self.keys.contains(change.key())
    }
}

#[derive(Default)]
struct Hub {
    watches: HashMap<u64, Watch>,
    next_watch: u64,
    by_id: BTreeMap<(u64, i64), u64>,
    /// By stream: the id its next watch gets. None comes twice, or an answer about the first would be taken for one
    /// about the second.
    next_ids: HashMap<u64, i64>,
    /// Synced watches of one key, and of ranges.
    by_key: HashMap<Bytes, BTreeSet<u64>>,
    ranges: BTreeSet<u64>,
    behind: BTreeSet<u64>,
    /// First revision the hub has not handed out.
    next: i64,
    cluster_id: u64,
    member_id: u64,
    raft_term: u64,
    /// How often a quiet watch that asked for it is told that it is up to date.
    progress_every: Duration,
    /// Responses larger than this are cut, for those who asked for that.
    most_bytes: usize,
    sent: u64,
}

/// Runs as long as the member does.
pub(crate) async fn run(
    node: Node,
    cluster_id: u64,
    progress_every: Duration,
    most_bytes: usize,
    metrics: Arc<Metrics>,
    mut asks: mpsc::Receiver<Ask>,
) {
    let mut applied = node.applied();
    let mut tick = interval(Duration::from_millis(20));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let next = node.revision() + 1;
    let mut hub =
        Hub { next, cluster_id, member_id: node.id(), progress_every, most_bytes, ..Hub::default() };
    let mut progressed = Instant::now();
    loop {
        let next = tokio::select! {
            changed = applied.changed() => changed.map_or(Next::End, |()| Next::Applied),
            ask = asks.recv() => ask.map_or(Next::End, Next::Ask),
            _ = tick.tick() => Next::Tick,
        };
        hub.raft_term = node.term();
        match next {
            // Nobody watches: a view would be made for nothing.
            Next::Applied if hub.watches.is_empty() => hub.next = hub.next.max(node.revision() + 1),
            Next::Applied => hub.advance(&node.view()),
            Next::Ask(ask) => hub.take(ask, &node.view()),
            Next::Tick => {
                if !hub.behind.is_empty() {
                    hub.feed_behind(&node.view());
                }
                if progressed.elapsed() >= progress_every.min(Duration::from_secs(1)) {
                    progressed = Instant::now();
                    hub.tell_progress();
                }
            }
            Next::End => return,
        }
        hub.tell_metrics(&metrics.watching);
    }
}

/// What the hub turns to.
enum Next {
    Applied,
    Ask(Ask),
    Tick,
    End,
}

impl Hub {
    fn header(&self, revision: i64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: self.raft_term,
        })
    }

    /// Hands out everything up to the view.
    fn advance(&mut self, view: &View) {
        if self.watches.is_empty() {
            self.next = self.next.max(view.revision() + 1);
            return;
        }
        while self.next <= view.revision() {
            if self.next < view.compacted() {
                // History went faster than the hub: each watch finds out for itself what it missed.
                for id in self.watches.keys().copied().collect::<Vec<_>>() {
                    self.unlist(id);
                    self.behind.insert(id);
                    if let Some(watch) = self.watches.get_mut(&id) {
                        watch.next = watch.next.max(self.next);
                    }
                }
                self.next = view.revision() + 1;
                return;
            }
            let Ok((changes, next)) = view.changes(self.next, PIECE) else {
                tracing::error!("could not read history for watches");
                return;
            };
            self.hand_out(&changes, next, view);
            self.next = next;
        }
    }

    fn hand_out(&mut self, changes: &[Change], next: i64, view: &View) {
        let mut told: BTreeMap<u64, Vec<&Change>> = BTreeMap::new();
        for change in changes {
            let exact = self.by_key.get(change.key()).into_iter().flatten();
            for id in exact.chain(&self.ranges) {
                if self.watches.get(id).is_some_and(|watch| watch.wants(change)) {
                    told.entry(*id).or_default().push(change);
                }
            }
        }
        let header = self.header(next - 1);
        let mut before = HashMap::new();
        for (id, changes) in told {
            let Some(watch) = self.watches.get_mut(&id) else { continue };
            let events = events(&changes, watch.prev_kv, view, &mut before);
            let response = WatchResponse { header, watch_id: watch.watch_id, events, ..Default::default() };
            match watch.tell(response) {
                Ok(()) => {
                    (watch.next, watch.told_at) = (next, Instant::now());
                    self.sent += changes.len() as u64;
                }
                Err(TrySendError::Full(())) => {
                    watch.next = watch.next.max(self.next);
                    self.unlist(id);
                    self.behind.insert(id);
                }
                Err(TrySendError::Closed(())) => self.remove(id),
            }
        }
    }

    fn take(&mut self, ask: Ask, view: &View) {
        match ask {
            Ask::Create { stream, request, room } => self.create(stream, request, room, view),
            Ask::Cancel { stream, watch_id, room } => {
                let Some(id) = self.by_id.get(&(stream, watch_id)).copied() else { return };
                let header = self.header(self.next - 1);
                room.send(Ok(WatchResponse { header, watch_id, canceled: true, ..Default::default() }));
                self.remove(id);
            }
            Ask::Progress { stream, room } => {
                self.advance(view);
                let synced = self.by_id.range((stream, i64::MIN)..=(stream, i64::MAX));
                if synced.into_iter().all(|(_, id)| !self.behind.contains(id)) {
                    let header = self.header(self.next - 1);
                    room.send(Ok(WatchResponse { header, watch_id: -1, ..Default::default() }));
                }
            }
            Ask::Close { stream } => {
                self.next_ids.remove(&stream);
                let all = self.by_id.range((stream, i64::MIN)..=(stream, i64::MAX));
                for id in all.map(|(_, id)| *id).collect::<Vec<_>>() {
                    self.remove(id);
                }
            }
        }
    }

    fn create(&mut self, stream: u64, request: WatchCreateRequest, room: Room, view: &View) {
        self.advance(view);
        let header = self.header(view.revision());
        let refuse = |room: Room, cancel_reason: &str| {
            room.send(Ok(WatchResponse {
                header,
                watch_id: -1,
                created: true,
                canceled: true,
                cancel_reason: cancel_reason.to_owned(),
                ..Default::default()
            }));
        };
        let key = if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key };
        let keys = KeyRange::new(&key, &request.range_end);
        if let KeyRange::Half(start, end) = &keys
            && start >= end
        {
            return refuse(room, "mvcc: watcher range is empty");
        }
        let watch_id = if request.watch_id != 0 {
            if self.by_id.contains_key(&(stream, request.watch_id)) {
                return refuse(room, "mvcc: duplicate watch ID provided on the WatchStream");
            }
            request.watch_id
        } else {
            self.new_id(stream)
        };
        let filtered = |kind: FilterType| request.filters.contains(&(kind as i32));
        let start = request.start_revision;
        let next = if start == 0 { view.revision() + 1 } else { start };
        let out = room.send(Ok(WatchResponse { header, watch_id, created: true, ..Default::default() }));
        let watch = Watch {
            stream,
            watch_id,
            keys,
            puts: !filtered(FilterType::Noput),
            deletes: !filtered(FilterType::Nodelete),
            prev_kv: request.prev_kv,
            progress: request.progress_notify,
            fragment: request.fragment.then_some(self.most_bytes),
            next,
            out,
            told_at: Instant::now(),
        };
        self.next_watch += 1;
        let id = self.next_watch;
        self.by_id.insert((stream, watch_id), id);
        self.watches.insert(id, watch);
        if next < self.next {
            self.behind.insert(id);
            self.feed(id, view);
        } else {
            self.list(id);
        }
    }

    fn new_id(&mut self, stream: u64) -> i64 {
        let next = self.next_ids.entry(stream).or_insert(0);
        while self.by_id.contains_key(&(stream, *next)) {
            *next += 1;
        }
        *next += 1;
        *next - 1
    }

    fn list(&mut self, id: u64) {
        match self.watches.get(&id).map(|watch| &watch.keys) {
            Some(KeyRange::One(key)) => {
                self.by_key.entry(key.clone()).or_default().insert(id);
            }
            Some(_) => {
                self.ranges.insert(id);
            }
            None => {}
        }
    }

    fn unlist(&mut self, id: u64) {
        self.ranges.remove(&id);
        if let Some(KeyRange::One(key)) = self.watches.get(&id).map(|watch| &watch.keys)
            && let Some(ids) = self.by_key.get_mut(key)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    fn remove(&mut self, id: u64) {
        self.unlist(id);
        self.behind.remove(&id);
        if let Some(watch) = self.watches.remove(&id) {
            self.by_id.remove(&(watch.stream, watch.watch_id));
        }
    }

    fn feed_behind(&mut self, view: &View) {
        self.advance(view);
        for id in self.behind.iter().copied().collect::<Vec<_>>() {
            self.feed(id, view);
        }
    }

    /// Gives a watch that is behind its next piece of history.
    fn feed(&mut self, id: u64, view: &View) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        if watch.out.capacity() == 0 {
            return;
        }
        if watch.next < view.compacted() {
            let compact_revision = view.compacted();
            let (watch_id, out) = (watch.watch_id, watch.out.clone());
            let header = self.header(0);
            let gone =
                WatchResponse { header, watch_id, canceled: true, compact_revision, ..Default::default() };
            let _ = out.try_send(Ok(gone));
            return self.remove(id);
        }
        let Ok((changes, mut next)) = view.changes(watch.next, PIECE) else { return };
        let mut concerned: Vec<&Change> = changes.iter().filter(|change| watch.wants(change)).collect();
        let enough = prefix(&concerned, PIECE_BYTES);
        if let Some(rest) = concerned.get(enough) {
            next = rest.revision();
            concerned.truncate(enough);
        }
        let header = Some(ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: view.revision(),
            raft_term: self.raft_term,
        });
        if !concerned.is_empty() {
            let events = events(&concerned, watch.prev_kv, view, &mut HashMap::new());
            let response = WatchResponse { header, watch_id: watch.watch_id, events, ..Default::default() };
            if watch.tell(response).is_err() {
                return;
            }
            watch.told_at = Instant::now();
            self.sent += concerned.len() as u64;
        }
        watch.next = next;
        if next >= self.next {
            self.behind.remove(&id);
            self.list(id);
        }
    }

    fn tell_metrics(&mut self, watching: &Watching) {
        let store = |gauge: &AtomicU64, value: usize| gauge.store(value as u64, Ordering::Relaxed);
        store(&watching.watches, self.watches.len());
        store(&watching.behind, self.behind.len());
        watching.events.fetch_add(std::mem::take(&mut self.sent), Ordering::Relaxed);
    }

    fn tell_progress(&mut self) {
        let header = self.header(self.next - 1);
        for (id, watch) in &mut self.watches {
            if watch.progress && !self.behind.contains(id) && watch.told_at.elapsed() >= self.progress_every {
                watch.told_at = Instant::now();
                let watch_id = watch.watch_id;
                let _ = watch.out.try_send(Ok(WatchResponse { header, watch_id, ..Default::default() }));
            }
        }
    }
}
