//! Where being faster than Docker would break what was written for Docker.
//!
//! Between the start of a program and the moment a client learns of it, Docker takes tens of milliseconds; before
//! it removes a container of `--rm`, it takes more. Scripts and test suites have come to count on both: they read
//! the log right after the start, or ask for a container that has just removed itself. Nobody waits here who
//! asked to be told of the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::container::Container;
use crate::clock;

/// How old a program is before its output is expected to be there.
const OUTPUT: Duration = Duration::from_millis(40);
/// How old a container of `--rm` gets, unless somebody waits for its removal.
const SHORTEST_LIFE: Duration = Duration::from_millis(300);

/// Counts those who wait for a removal.
#[derive(Debug, Default)]
pub(crate) struct RemovalWaiters(AtomicUsize);

/// One of them, until it is dropped.
pub(crate) struct RemovalWaiter<'a>(&'a RemovalWaiters);

impl RemovalWaiters {
    pub(crate) fn join(&self) -> RemovalWaiter<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        RemovalWaiter(self)
    }
}

impl Drop for RemovalWaiter<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Container {
    /// What is left until the program has run for `age`.
    fn younger_than(&self, age: Duration) -> Option<Duration> {
        let lived = clock::now() - self.record().state.started_at;
        let lived = Duration::from_nanos(u64::try_from(lived).unwrap_or(u64::MAX));
        age.checked_sub(lived).filter(|left| !left.is_zero())
    }

    /// Gives a program that was started just now the time to write, or to end.
    pub(crate) async fn first_output(&self) {
        let alive = self.record().state.is_alive();
        if let Some(left) = self.younger_than(OUTPUT).filter(|_| alive) {
            let mut phase = self.phase.subscribe();
            // Either will do.
            let _ = tokio::time::timeout(left, phase.wait_for(|p| !p.running)).await;
        }
    }

    /// Holds an automatic removal back for those who have yet to ask for the output.
    pub(crate) async fn before_removal(&self) {
        if self.removal_waiters.0.load(Ordering::Relaxed) > 0 {
            return;
        }
        if let Some(left) = self.younger_than(SHORTEST_LIFE) {
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::container::Record;

    fn started_now() -> Container {
        let mut record = Record::default();
        record.state.started_at = clock::now();
        record.state.running = true;
        Container::new("/nowhere".into(), record)
    }

    #[tokio::test]
    async fn who_waits_for_the_removal_gets_it_at_once() {
        let container = started_now();
        let waiter = container.removal_waiters.join();
        let begun = std::time::Instant::now();
        container.before_removal().await;
        assert!(begun.elapsed() < SHORTEST_LIFE / 2);
        drop(waiter);
        container.before_removal().await;
        assert!(begun.elapsed() >= SHORTEST_LIFE / 2);
    }

    #[tokio::test]
    async fn an_end_ends_the_wait_for_output() {
        let container = started_now();
        container.phase.send_modify(|p| p.running = false);
        let begun = std::time::Instant::now();
        container.first_output().await;
        assert!(begun.elapsed() < OUTPUT);
        container.record().state.started_at -= 1_000_000_000;
        assert_eq!(container.younger_than(OUTPUT), None);
    }
}
