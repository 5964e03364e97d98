//! Many clients' operations in one log entry.
//!
//! While entries are on their way, operations gather; the next entry takes all of them. So the busier the cluster,
//! the larger the entries. A lone client's operation never waits: it goes to the log in the client's own task, and
//! whoever applied it wakes that task. A member that does not lead hands its entries to the one that does, which mixes
//! them with its own.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use kv_api::{
    ErrorKind,
    internal::{Batch, BatchReply, Op, Reply},
};
use openraft::{errors::ClientWriteError, raft::ClientWriteResult};
use prost::Message as _;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{Kind, Node, Proposal, TypeConfig, types::Callback};

/// Entries on their way at a time: one being written while the next gathers.
const IN_FLIGHT: usize = 2;
const MOST_OPS: usize = 1024;
const MOST_BYTES: usize = 1 << 20;
/// Operations waiting at a time; more are refused.
const MOST_WAITING: usize = 16 << 10;
/// How often it is looked for what took too long.
const LOOK_EACH: Duration = Duration::from_millis(250);

/// An operation and who waits for its reply.
struct Waiting {
    op: Op,
    reply: oneshot::Sender<Result<Reply, ErrorKind>>,
    since: Instant,
}

/// An entry on its way, and who waits for its replies.
struct Flying {
    number: u64,
    since: Instant,
    replies: Vec<oneshot::Sender<Result<Reply, ErrorKind>>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    flying: Vec<Flying>,
    /// Entries that this member may not write, because it does not lead any more: they go to who does.
    refused: Vec<(u64, Batch)>,
    next: u64,
    closed: bool,
}

/// Where operations gather.
#[derive(Default)]
pub(crate) struct Gathering {
    queue: Mutex<Queue>,
    more: Notify,
}

impl Gathering {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry's outcome. What gathered meanwhile can go.
    fn land(&self, number: u64, answers: Result<Vec<Reply>, ErrorKind>) {
        let mut queue = self.lock();
        let at = queue.flying.iter().position(|flying| flying.number == number);
        let landed = at.map(|at| queue.flying.swap_remove(at));
        let more = !queue.waiting.is_empty();
        drop(queue);
        if more {
            self.more.notify_one();
        }
        match (landed, answers) {
            (Some(landed), Ok(answers)) => {
                for (reply, answer) in landed.replies.into_iter().zip(answers) {
                    let _ = reply.send(Ok(answer));
                }
            }
            (Some(landed), Err(kind)) => give_up(landed.replies, kind),
            // Given up before.
            (None, _) => {}
        }
    }

    fn refuse(&self, number: u64, batch: Batch) {
        self.lock().refused.push((number, batch));
        self.more.notify_one();
    }

    /// Answers those who waited too long. What they asked may still be done.
    fn give_up_after(&self, limit: Duration) {
        let mut late = Vec::new();
        let mut queue = self.lock();
        for flying in queue.flying.extract_if(.., |flying| flying.since.elapsed() >= limit) {
            late.extend(flying.replies);
        }
        while queue.waiting.front().is_some_and(|waiting| waiting.since.elapsed() >= limit) {
            late.extend(queue.waiting.pop_front().map(|waiting| waiting.reply));
        }
        drop(queue);
        give_up(late, ErrorKind::Timeout);
    }

    /// Nothing goes on from here.
    fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let waiting = std::mem::take(&mut queue.waiting);
        let flying = std::mem::take(&mut queue.flying);
        queue.refused.clear();
        drop(queue);
        let flying = flying.into_iter().flat_map(|flying| flying.replies);
        give_up(waiting.into_iter().map(|waiting| waiting.reply).chain(flying), ErrorKind::Stopped);
    }
}

fn give_up(waiting: impl IntoIterator<Item = oneshot::Sender<Result<Reply, ErrorKind>>>, kind: ErrorKind) {
    for reply in waiting {
        let _ = reply.send(Err(kind));
    }
}

impl Queue {
    fn check_room(&self, ops: usize) -> Result<(), ErrorKind> {
        if self.closed {
            Err(ErrorKind::Stopped)
        } else if self.waiting.len() + ops > MOST_WAITING {
            Err(ErrorKind::TooManyRequests)
        } else {
            Ok(())
        }
    }

    fn add(&mut self, op: Op) -> oneshot::Receiver<Result<Reply, ErrorKind>> {
        let (reply, receiver) = oneshot::channel();
        self.waiting.push_back(Waiting { op, reply, since: Instant::now() });
        receiver
    }

    /// Whether an entry may go now. If none may, the next to land makes room.
    fn has_room(&self) -> bool {
        self.flying.len() < IN_FLIGHT
    }

    /// The operations of the next entry, if there are any and it may go now.
    fn take(&mut self) -> Option<(u64, Vec<Op>)> {
        if !self.has_room() {
            return None;
        }
        let (mut ops, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        while ops.len() < MOST_OPS
            && bytes < MOST_BYTES
            && let Some(Waiting { op, reply, .. }) = self.waiting.pop_front()
        {
            // Nobody asks for this any more.
            if reply.is_closed() {
                continue;
            }
            bytes += op.encoded_len();
            ops.push(op);
            replies.push(reply);
        }
        if ops.is_empty() {
            return None;
        }
        self.next += 1;
        self.flying.push(Flying { number: self.next, since: Instant::now(), replies });
        Some((self.next, ops))
    }
}

/// Performs an operation on the whole cluster.
pub(crate) async fn propose(node: &Node, op: Op) -> Result<Reply, ErrorKind> {
    let gathering = &node.0.proposals;
    let (reply, alone) = {
        let mut queue = gathering.lock();
        queue.check_room(1)?;
        let reply = queue.add(op);
        let alone = if queue.waiting.len() == 1 { queue.take() } else { None };
        if alone.is_none() && queue.has_room() {
            gathering.more.notify_one();
        }
        (reply, alone)
    };
    if let Some((number, ops)) = alone {
        let batch = batch(node, ops);
        if node.is_leader() {
            send(node, number, batch).await;
        } else {
            hand_over(node.clone(), number, batch).await;
        }
    }
    reply.await.unwrap_or(Err(ErrorKind::Stopped))
}

fn batch(node: &Node, ops: Vec<Op>) -> Batch {
    Batch { time_ms: (node.0.options.clock)(), ops }
}

/// Sends what gathered, for as long as the member runs.
pub(crate) async fn run(node: Node) {
    struct Close<'n>(&'n Node);
    impl Drop for Close<'_> {
        fn drop(&mut self) {
            self.0.0.proposals.close();
        }
    }
    let close = Close(&node);
    let gathering = &node.0.proposals;
    let mut handed_over = JoinSet::new();
    let mut looked = Instant::now();
    loop {
        let _ = tokio::time::timeout(LOOK_EACH, gathering.more.notified()).await;
        if looked.elapsed() >= LOOK_EACH {
            looked = Instant::now();
            gathering.give_up_after(node.0.options.request_timeout);
        }
        while handed_over.try_join_next().is_some() {}
        let refused = std::mem::take(&mut gathering.lock().refused);
        for (number, batch) in refused {
            handed_over.spawn(hand_over(close.0.clone(), number, batch));
        }
        loop {
            let Some((number, ops)) = gathering.lock().take() else { break };
            let batch = batch(&node, ops);
            if node.is_leader() {
                send(&node, number, batch).await;
            } else {
                handed_over.spawn(hand_over(node.clone(), number, batch));
            }
        }
    }
}

/// Gives an entry to this member's log.
async fn send(node: &Node, number: u64, batch: Batch) {
    let proposal = Proposal(batch.encode_to_vec().into());
    let landing = Landing { node: node.clone(), number, done: false };
    let callback = Callback::new(move |result| landing.take(result, batch));
    // Should the core be gone, it drops the callback.
    let _ = node.0.raft.client_write_ff(proposal, Some(callback)).await;
}

/// Makes sure that an entry ends, one way or another.
struct Landing {
    node: Node,
    number: u64,
    done: bool,
}

impl Landing {
    fn with(mut self, answers: Result<Vec<Reply>, ErrorKind>) {
        self.done = true;
        self.node.0.proposals.land(self.number, answers);
    }

    fn take(mut self, result: ClientWriteResult<TypeConfig>, batch: Batch) {
        match result {
            Ok(response) => self.with(Ok(response.data.0)),
            // Refused before it was appended: try the other leader.
            Err(ClientWriteError::ForwardToLeader(_)) => {
                self.done = true;
                self.node.0.proposals.refuse(self.number, batch);
            }
            Err(_) => self.with(Err(ErrorKind::TimeoutDueToLeaderFail)),
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.done {
            self.node.0.proposals.land(self.number, Err(ErrorKind::Stopped));
        }
    }
}

/// Gets an entry into the log through the leader, whoever that is.
async fn hand_over(node: Node, number: u64, batch: Batch) {
    let landing = Landing { node, number, done: false };
    let answers = write(&landing.node, batch).await;
    landing.with(answers);
}

async fn write(node: &Node, mut batch: Batch) -> Result<Vec<Reply>, ErrorKind> {
    let deadline = Instant::now() + node.0.options.request_timeout;
    loop {
        match node.leader() {
            Some(leader) if leader == node.0.id => match write_here(node, &batch).await {
                Err(ErrorKind::NotLeader) => {}
                done => return done,
            },
            Some(leader) => match write_there(node, leader, &batch).await {
                Err(ErrorKind::NotLeader | ErrorKind::NoLeader) => {}
                done => return done,
            },
            None => {}
        }
        if Instant::now() >= deadline {
            return Err(ErrorKind::Timeout);
        }
        sleep(Duration::from_millis(10)).await;
        batch.time_ms = (node.0.options.clock)();
    }
}

async fn write_here(node: &Node, batch: &Batch) -> Result<Vec<Reply>, ErrorKind> {
    let (sender, receiver) = oneshot::channel();
    let callback = Callback::new(move |result: ClientWriteResult<TypeConfig>| drop(sender.send(result)));
    let proposal = Proposal(batch.encode_to_vec().into());
    node.0.raft.client_write_ff(proposal, Some(callback)).await.map_err(|_| ErrorKind::Stopped)?;
    match tokio::time::timeout(node.0.options.request_timeout, receiver).await {
        Ok(Ok(Ok(response))) => Ok(response.data.0),
        Ok(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => Err(ErrorKind::NotLeader),
        Ok(Ok(Err(_))) => Err(ErrorKind::TimeoutDueToLeaderFail),
        Ok(Err(_)) => Err(ErrorKind::Stopped),
        Err(_) => Err(ErrorKind::Timeout),
    }
}

async fn write_there(node: &Node, leader: u64, batch: &Batch) -> Result<Vec<Reply>, ErrorKind> {
    let answer = node.ask(Some(leader), Kind::Propose, batch.encode_to_vec().into()).await?;
    let replies = BatchReply::decode(answer).map_err(|_| ErrorKind::TimeoutDueToConnectionLost)?;
    Ok(replies.replies)
}

/// Answers another member's entry: its operations join ours.
pub(crate) async fn answer(node: &Node, payload: Bytes) -> Result<Bytes, String> {
    let batch = Batch::decode(payload).map_err(|error| error.to_string())?;
    if !node.is_leader() {
        return Err(ErrorKind::NotLeader.name().to_owned());
    }
    let waiting: Vec<_> = {
        let mut queue = node.0.proposals.lock();
        queue.check_room(batch.ops.len()).map_err(|kind| kind.name().to_owned())?;
        let waiting = batch.ops.into_iter().map(|op| queue.add(op)).collect();
        if queue.has_room() {
            node.0.proposals.more.notify_one();
        }
        waiting
    };
    let mut replies = Vec::new();
    for reply in waiting {
        let reply = reply.await.unwrap_or(Err(ErrorKind::Stopped));
        replies.push(reply.map_err(unknown)?);
    }
    Ok(BatchReply { replies }.encode_to_vec().into())
}

/// Part of the entry may be done, so it must not be tried again.
fn unknown(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::NotLeader => ErrorKind::TimeoutDueToLeaderFail.name().to_owned(),
        kind => kind.name().to_owned(),
    }
}
