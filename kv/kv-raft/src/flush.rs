//! Housekeeping: storing the state, purging the log behind it, sweeping compacted history in small steps.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{Node, Options};

/// Entries kept behind what is stored: for followers that fall behind a little, and as a wide berth around the
/// entries being applied (openraft#2116).
pub const KEPT_ENTRIES: u64 = 20_000;
/// Purged at once at least, so that purging is rare.
pub(crate) const PURGE_STEP: u64 = 5_000;
/// A log of large entries is cut earlier: a small disk must not fill up with what is stored elsewhere.
pub(crate) const KEPT_BYTES: u64 = 128 << 20;
/// But never closer behind what is stored than this.
const LEAST_KEPT: u64 = 100;
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
        let compacted = node.compacted();
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
        let (safe, due) = cut(&node.0.options, stored, node.0.log.tail(node.0.options.kept_bytes), purged);
        if due {
            purged = safe;
            let trigger = node.0.raft.trigger();
            if trigger.snapshot().await.is_err() || trigger.purge_log(safe).await.is_err() {
                return;
            }
        }
    }
}

/// Up to where the log may be purged, and whether that is worth it. `tail` is the log's bytes, and the number of the
/// oldest entry of those that are kept by size; entry `n` has number `n + 1`.
fn cut(options: &Options, stored: u64, tail: (u64, u64), purged: u64) -> (u64, bool) {
    let (bytes, oldest) = tail;
    let by_count = stored.saturating_sub(options.kept_entries);
    let by_size = oldest.saturating_sub(2).min(stored.saturating_sub(LEAST_KEPT));
    let safe = by_count.max(by_size);
    let due = safe >= purged + options.purge_step || safe > purged && bytes > options.kept_bytes * 2;
    (safe, due)
}

/// The storage failed: nothing this member says can be trusted any more.
async fn stop(node: &Node, error: &std::io::Error) {
    tracing::error!(%error, "could not store the state, stopping");
    let _ = node.0.raft.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_by_count_or_by_size() {
        let options =
            Options { kept_entries: 1000, purge_step: 100, kept_bytes: 1 << 20, ..Options::default() };
        let small = |last: u64| (last * 10, 1);
        assert_eq!(cut(&options, 900, small(900), 0), (0, false));
        assert_eq!(cut(&options, 1100, small(1100), 0), (100, true));
        assert_eq!(cut(&options, 1150, small(1150), 100), (150, false), "too little to be worth it");
        // Entries of 10 KiB: a hundred are kept by size, and twice as many are too many.
        let large = |last: u64| (last * 10_240, last + 1 - 102);
        assert_eq!(cut(&options, 150, large(150), 0), (47, false));
        assert_eq!(cut(&options, 250, large(250), 0), (147, true));
        // What is not stored yet is kept, however large.
        assert_eq!(cut(&options, 120, (250 * 10_240, 149), 0), (20, true));
        assert_eq!(cut(&options, 50, (250 * 10_240, 149), 0), (0, false));
    }
}
