//! Who this member is in touch with. The log's core keeps to the leader it knew last, however long ago that was, and a
//! leader that is cut off goes on until it hears of another. Clients and operators want to know whether there is one
//! that can do something now.

use std::sync::{Mutex, PoisonError};

use openraft::{Instant as _, async_runtime::watch::WatchReceiver as _};
use tokio::time::Instant;

use crate::Node;

/// When the leader was last heard of.
#[derive(Default)]
pub(crate) struct Contact(Mutex<Option<Instant>>);

impl Contact {
    /// The leader has just said something that was listened to.
    pub(crate) fn heard(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Whether there is a leader that this member is in touch with; of a leader, whether a quorum is.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let silence = match metrics.current_leader {
            None => return false,
            Some(leader) if leader == self.0.id => {
                let mut voters = metrics.membership_config.voter_ids();
                if voters.next() == Some(leader) && voters.next().is_none() {
                    return true;
                }
                metrics.last_quorum_acked.map(|at| at.into_inner().elapsed())
            }
            Some(_) => self.0.contact.last().map(|at| at.elapsed()),
        };
        // A follower stands for election after one to one and a half of its timeouts.
        silence.is_some_and(|silence| silence < self.0.options.election * 3 / 2)
    }

    /// Which of the voters this leader is not in touch with.
    #[must_use]
    pub fn out_of_touch(&self) -> Vec<u64> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let answered = |id: &u64| {
            let heartbeats = metrics.heartbeat.as_ref()?;
            let at = heartbeats.get(id)?.as_ref()?;
            Some(at.elapsed() < self.0.options.election)
        };
        let voters = metrics.membership_config.voter_ids();
        voters.filter(|id| *id != self.0.id && answered(id) != Some(true)).collect()
    }
}
