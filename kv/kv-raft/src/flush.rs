//! Housekeeping: storing the state, purging the log behind it, sweeping compacted history in small steps.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Node;

/// Entries kept behind what is stored: for followers that fall behind a little, and as a wide berth around the
/// entries being applied (openraft#2116).
pub const KEPT_ENTRIES: u64 = 20_000;
/// Purged at once at least, so that purging is rare.
pub(crate) const PURGE_STEP: u64 = 5_000;
/// More changes than this are stored at once.
const MOST_UNSTORED: usize = 200_000;
/// Versions swept at a time.
const SWEEP_STEP: usize = 500;

pub(crate) async fn run(node: Node) {
    let mut stored_at = Instant::now();
    let mut purged = 0;
    let mut seen = 0;
    let mut swept_to = 0;
    loop {
        sleep(Duration::from_millis(50)).await;
        let compacted = node.view().compacted();
        let swept = compacted > swept_to;
        if swept {
            match node.0.machine.sweep(SWEEP_STEP) {
                Ok(true) => {}
                Ok(false) => swept_to = compacted,
                Err(error) => return stop(&node, &error).await,
            }
        }
        let applied = *node.0.machine.0.applied.borrow();
        let unstored = node.0.machine.live().state.unsealed();
        let due = stored_at.elapsed() >= node.0.options.flush_interval && (applied != seen || swept);
        if !due && unstored < MOST_UNSTORED {
            continue;
        }
        (stored_at, seen) = (Instant::now(), applied);
        let machine = node.0.machine.clone();
        let stored = match tokio::task::spawn_blocking(move || machine.store()).await {
            Ok(Ok(stored)) => stored.map_or(0, |id| id.index),
            Ok(Err(error)) => return stop(&node, &error).await,
            Err(_) => return,
        };
        let safe = stored.saturating_sub(node.0.options.kept_entries);
        if safe >= purged + node.0.options.purge_step {
            purged = safe;
            let trigger = node.0.raft.trigger();
            if trigger.snapshot().await.is_err() || trigger.purge_log(safe).await.is_err() {
                return;
            }
        }
    }
}

/// The storage failed: nothing this member says can be trusted any more.
async fn stop(node: &Node, error: &std::io::Error) {
    tracing::error!(%error, "could not store the state, stopping");
    let _ = node.0.raft.shutdown().await;
}
