//! Reads that are certainly not stale. All readers that wait share one round: the leader makes sure that it still
//! leads, and tells up to where the log was committed; then each waits until its own member has applied that.

use std::time::Duration;

use bytes::Bytes;
use kv_api::ErrorKind;
use openraft::{
    ReadPolicy,
    errors::{LinearizableReadError, RaftError},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use crate::{Kind, Node};

type Reader = oneshot::Sender<Result<u64, ErrorKind>>;

pub(crate) async fn run(node: Node, mut readers: mpsc::Receiver<Reader>) {
    while let Some(first) = readers.recv().await {
        let mut waiting = vec![first];
        // Only who came before the round begins may use its answer.
        while let Ok(next) = readers.try_recv() {
            waiting.push(next);
        }
        let answer = round(&node).await;
        for reader in waiting {
            let _ = reader.send(answer);
        }
    }
}

async fn round(node: &Node) -> Result<u64, ErrorKind> {
    let deadline = Instant::now() + node.0.options.request_timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let attempt = async {
            match node.leader() {
                Some(leader) if leader == node.0.id => here(node).await,
                Some(leader) => there(node, leader).await,
                None => None,
            }
        };
        match tokio::time::timeout(left, attempt).await {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => sleep(Duration::from_millis(10)).await,
            Err(_) => return Err(ErrorKind::Timeout),
        }
        if Instant::now() >= deadline {
            return Err(ErrorKind::Timeout);
        }
    }
}

/// The index to wait for, if this member leads.
async fn here(node: &Node) -> Option<u64> {
    if !node.0.options.confirm_reads {
        return Some(node.0.machine.0.applied.borrow().saturating_sub(1));
    }
    match node.0.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
        Ok((id, _)) => {
            // A leader that restarts goes on leading in its term, but knows only of an older commit: it may have told
            // somebody of all that its log holds.
            let (term, last) = node.0.woke;
            Some(if node.term() == term { id.index().max(last) } else { id.index() })
        }
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => None,
        Err(error) => {
            tracing::debug!(%error, "could not confirm leadership");
            None
        }
    }
}

async fn there(node: &Node, leader: u64) -> Option<u64> {
    let answer = node.ask(Some(leader), Kind::ReadIndex, Bytes::new()).await.ok()?;
    Some(u64::from_be_bytes(answer.as_ref().try_into().ok()?))
}

/// Answers another member that wants to read.
pub(crate) async fn answer(node: &Node) -> Result<Bytes, String> {
    if !node.is_leader() {
        return Err(ErrorKind::NotLeader.name().to_owned());
    }
    let index = node.read_index().await.map_err(|kind| kind.name().to_owned())?;
    Ok(Bytes::copy_from_slice(&index.to_be_bytes()))
}
