//! openraft's log storage on `kv-wal`.
//!
//! All writes go through one ordered queue to one writer, which puts everything waiting into one frame: one write,
//! one sync, then the callbacks in order. An entry can be read as soon as it is queued, from the cache. Entry `n`
//! of the log is number `n + 1` of the WAL, so that "nothing" is 0.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Instant,
};

use bytes::Bytes;
use kv_wal::{Reader, Record, Wal, WalError};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use tokio::sync::oneshot;

use crate::{
    TypeConfig,
    entry::{decode, encode},
    timing::Timing,
    types::{Entry, LogId, Vote},
};

const VOTE: u8 = 0;
const COMMITTED: u8 = 1;
const PURGED: u8 = 2;
/// Safe entries kept in memory for followers and the state machine.
const CACHED_BYTES: usize = 16 << 20;
/// Waiting writes put into one frame at most.
const FRAME_RECORDS: usize = 4096;

/// How writes are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By a thread of its own, many at a time.
    Thread,
    /// At once, by the caller: for simulations.
    Inline,
}

enum Done {
    Flushed(IOFlushed<TypeConfig>),
    Reply(oneshot::Sender<io::Result<()>>),
}

struct Job {
    records: Vec<Record>,
    done: Option<Done>,
}

enum Writer {
    Queue(mpsc::SyncSender<Job>),
    Inline(Box<Mutex<Wal>>),
}

#[derive(Default)]
struct Cache {
    entries: BTreeMap<u64, (Entry, usize)>,
    bytes: usize,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// Number of the last entry known to be safe, plus one; only those may leave the cache.
    safe: u64,
    committed_changed: bool,
}

struct Shared {
    writes: Arc<Timing>,
    cache: Mutex<Cache>,
    reader: Reader,
    writer: Writer,
}

/// The log of one member. Clones are handles to the same.
#[derive(Clone)]
pub struct LogStore(Arc<Shared>);

impl LogStore {
    /// Takes over an opened WAL.
    ///
    /// # Errors
    /// When its content cannot be understood.
    pub fn open(wal: Wal, mode: Mode) -> io::Result<Self> {
        let reader = wal.reader();
        let slot = |slot: u8| wal.slots().get(slot).cloned();
        let mut cache = Cache {
            vote: slot(VOTE).map(|bytes| decode(&bytes)).transpose()?,
            committed: slot(COMMITTED).map(|bytes| decode(&bytes)).transpose()?,
            purged: slot(PURGED).map(|bytes| decode(&bytes)).transpose()?,
            ..Cache::default()
        };
        let range = reader.range();
        cache.safe = range.end.saturating_sub(1);
        cache.last = if range.is_empty() {
            cache.purged
        } else {
            Some(decode::<Entry>(&reader.read(range.end - 1).map_err(failed)?)?.log_id)
        };
        let (writer, thread) = match mode {
            Mode::Inline => (Writer::Inline(Box::new(Mutex::new(wal))), None),
            Mode::Thread => {
                let (sender, receiver) = mpsc::sync_channel(FRAME_RECORDS);
                (Writer::Queue(sender), Some((receiver, wal)))
            }
        };
        let shared = Arc::new(Shared { writes: Arc::default(), cache: Mutex::new(cache), reader, writer });
        if let Some((receiver, wal)) = thread {
            let shared = Arc::downgrade(&shared);
            thread::Builder::new().name("wal".into()).spawn(move || write_all(wal, &receiver, &shared))?;
        }
        Ok(Self(shared))
    }

    /// The term last voted in, and the index of the last entry.
    pub(crate) fn end(&self) -> (u64, u64) {
        let cache = self.cache();
        (cache.vote.map_or(0, |vote| vote.leader_id.term), cache.last.map_or(0, |last| last.index))
    }

    /// What is on the disk.
    pub(crate) fn reader(&self) -> Reader {
        self.0.reader.clone()
    }

    /// How long writes took, each with its sync.
    pub(crate) fn writes(&self) -> Arc<Timing> {
        self.0.writes.clone()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, job: Job) -> io::Result<()> {
        match &self.0.writer {
            Writer::Queue(queue) => queue.send(job).map_err(|_| io::ErrorKind::BrokenPipe.into()),
            Writer::Inline(wal) => {
                let mut wal = wal.lock().unwrap_or_else(PoisonError::into_inner);
                let result = wal.write(&job.records);
                settle(&self.0, &job.records, &result);
                complete(job.done, &result);
                Ok(())
            }
        }
    }

    async fn submit_and_wait(&self, records: Vec<Record>) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Job { records, done: Some(Done::Reply(sender)) })?;
        receiver.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

/// The writer's life: everything that waits goes into one frame.
fn write_all(mut wal: Wal, jobs: &mpsc::Receiver<Job>, shared: &std::sync::Weak<Shared>) {
    while let Ok(first) = jobs.recv() {
        let (mut records, mut done) = (first.records, vec![first.done]);
        while records.len() < FRAME_RECORDS
            && let Ok(next) = jobs.try_recv()
        {
            records.extend(next.records);
            done.push(next.done);
        }
        let started = Instant::now();
        let result = wal.write(&records);
        if let Err(error) = &result {
            tracing::error!(error = chain(error), "could not write the log");
        }
        if let Some(shared) = shared.upgrade() {
            shared.writes.add(started.elapsed());
            settle(&shared, &records, &result);
        }
        for done in done {
            complete(done, &result);
        }
    }
}

fn chain(error: &WalError) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// What is safe now may leave the cache.
fn settle(shared: &Shared, records: &[Record], result: &Result<(), WalError>) {
    if result.is_err() {
        return;
    }
    let mut cache = shared.cache.lock().unwrap_or_else(PoisonError::into_inner);
    for record in records {
        match record {
            Record::Entry(number, _) => cache.safe = *number,
            Record::TruncateAfter(number) => cache.safe = cache.safe.min(*number),
            Record::Purge(_) | Record::Slot(..) => {}
        }
    }
    while cache.bytes > CACHED_BYTES
        && cache.entries.first_key_value().is_some_and(|(index, _)| *index < cache.safe)
    {
        if let Some((_, (_, size))) = cache.entries.pop_first() {
            cache.bytes -= size;
        }
    }
}

fn complete(done: Option<Done>, result: &Result<(), WalError>) {
    let result = match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::other(error.to_string())),
    };
    match done {
        Some(Done::Flushed(callback)) => callback.io_completed(result),
        Some(Done::Reply(reply)) => drop(reply.send(result)),
        None => {}
    }
}

fn failed(error: WalError) -> io::Error {
    io::Error::other(error)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let stored = self.0.reader.range();
        let (first, next) = {
            let cache = self.cache();
            let oldest = if stored.is_empty() { u64::MAX } else { stored.start.saturating_sub(1) };
            let oldest = oldest.min(cache.entries.keys().next().copied().unwrap_or(u64::MAX));
            let purged = cache.purged.map_or(0, |id| id.index + 1);
            (purged.max(oldest), cache.last.map_or(0, |id| id.index + 1))
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        (start.max(first)..end.min(next)).map(|index| self.entry(index)).collect()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.cache().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let next = self.cache().last.map_or(0, |id| id.index + 1);
        for index in start..end.min(next) {
            let entry = self.entry(index)?;
            if let openraft::EntryPayload::Normal(proposal) = &entry.payload {
                bytes += proposal.0.len();
            }
            entries.push(entry);
            if bytes > 1 << 20 {
                break;
            }
        }
        Ok(entries)
    }
}

impl LogStore {
    fn entry(&self, index: u64) -> io::Result<Entry> {
        if let Some((entry, _)) = self.cache().entries.get(&index) {
            return Ok(entry.clone());
        }
        decode(&self.0.reader.read(index + 1).map_err(failed)?)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let cache = self.cache();
        Ok(LogState { last_purged_log_id: cache.purged, last_log_id: cache.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.cache().vote = Some(*vote);
        self.submit_and_wait(vec![Record::Slot(VOTE, encode(vote)?)]).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Written with the next append: losing it costs nothing but time.
        let mut cache = self.cache();
        cache.committed = committed;
        cache.committed_changed = true;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.cache().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        {
            let mut cache = self.cache();
            for entry in entries {
                let encoded = encode(&entry)?;
                let log_id = entry.log_id;
                let size = encoded.len() + 128;
                records.push(Record::Entry(log_id.index + 1, encoded));
                cache.bytes += size;
                cache.last = Some(log_id);
                cache.entries.insert(log_id.index, (entry, size));
            }
            if std::mem::take(&mut cache.committed_changed)
                && let Some(committed) = cache.committed
            {
                records.push(Record::Slot(COMMITTED, encode(&committed)?));
            }
        }
        self.submit(Job { records, done: Some(Done::Flushed(callback)) })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let next = last.map_or(0, |id| id.index + 1);
        {
            let mut cache = self.cache();
            // Nothing comes after the end: the log must not seem longer than it is.
            if cache.last.is_none_or(|end| end.index < next) {
                return Ok(());
            }
            for (_, (_, size)) in cache.entries.split_off(&next) {
                cache.bytes -= size;
            }
            cache.last = last.or(cache.purged);
        }
        self.submit_and_wait(vec![Record::TruncateAfter(next)]).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut cache = self.cache();
            cache.purged = Some(upto);
            cache.last = cache.last.max(Some(upto));
            let kept = cache.entries.split_off(&(upto.index + 1));
            for (_, size) in std::mem::replace(&mut cache.entries, kept).into_values() {
                cache.bytes -= size;
            }
        }
        let purged: Bytes = encode(&upto)?;
        self.submit_and_wait(vec![Record::Slot(PURGED, purged), Record::Purge(upto.index + 1)]).await
    }
}
