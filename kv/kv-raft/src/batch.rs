//! Many clients' operations in one log entry.
//!
//! While one entry is on its way, operations gather; the next entry takes all of them. So the busier the cluster,
//! the larger the entries, and a lone client never waits. A member that does not lead hands its entries to the one
//! that does, which mixes them with its own.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kv_api::{
    ErrorKind,
    internal::{Batch, BatchReply, Op, Reply},
};
use openraft::errors::{ClientWriteError, RaftError};
use prost::Message as _;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, sleep},
};

use crate::{Kind, Node, Proposal};

/// Entries on their way at a time: one being written while the next gathers.
const IN_FLIGHT: usize = 2;
const MOST_OPS: usize = 1024;
const MOST_BYTES: usize = 1 << 20;

/// An operation and who waits for its reply.
pub(crate) struct Waiting {
    pub(crate) op: Op,
    pub(crate) reply: oneshot::Sender<Result<Reply, ErrorKind>>,
}

pub(crate) async fn run(node: Node, mut waiting: mpsc::Receiver<Waiting>) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut entries = tokio::task::JoinSet::new();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Some(first) = waiting.recv().await else { return };
        let mut ops = Vec::new();
        let mut replies = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(Waiting { op, reply }) = next {
            bytes += op.encoded_len();
            ops.push(op);
            replies.push(reply);
            next = if ops.len() < MOST_OPS && bytes < MOST_BYTES { waiting.try_recv().ok() } else { None };
        }
        while entries.try_join_next().is_some() {}
        let node = node.clone();
        entries.spawn(async move {
            let answers = write(&node, ops).await;
            drop(slot);
            answer_all(replies, answers);
        });
    }
}

fn answer_all(
    waiting: Vec<oneshot::Sender<Result<Reply, ErrorKind>>>,
    answers: Result<Vec<Reply>, ErrorKind>,
) {
    match answers {
        Ok(replies) => {
            for (waiting, reply) in waiting.into_iter().zip(replies) {
                let _ = waiting.send(Ok(reply));
            }
        }
        Err(kind) => {
            for waiting in waiting {
                let _ = waiting.send(Err(kind));
            }
        }
    }
}

/// Gets one entry into the log, here or through the leader.
async fn write(node: &Node, ops: Vec<Op>) -> Result<Vec<Reply>, ErrorKind> {
    let deadline = Instant::now() + node.0.options.request_timeout;
    let mut batch = Batch { time_ms: (node.0.options.clock)(), ops };
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
    let proposal = Proposal(batch.encode_to_vec().into());
    let limit = node.0.options.request_timeout;
    match tokio::time::timeout(limit, node.0.raft.client_write(proposal)).await {
        Ok(Ok(response)) => Ok(response.data.0),
        // Refused before it was appended: try the other leader.
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(ErrorKind::NotLeader),
        Ok(Err(RaftError::APIError(_))) => Err(ErrorKind::TimeoutDueToLeaderFail),
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
    let mut waiting = Vec::new();
    for op in batch.ops {
        let (sender, receiver) = oneshot::channel();
        let op = Waiting { op, reply: sender };
        node.0.proposals.send(op).await.map_err(|_| ErrorKind::Stopped.name().to_owned())?;
        waiting.push(receiver);
    }
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
