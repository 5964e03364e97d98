//! Makes the voters follow the members table, one step at a time, on the leader.
//!
//! A new member first learns the log, and votes when it has caught up, so that adding one never endangers the
//! quorum there is. [`step`] decides and is pure; [`run`] does what it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::{ChangeMembers, async_runtime::watch::WatchReceiver};
use tokio::time::sleep;

use crate::{Node, Peer};

/// A learner this close to the end of the log may vote.
const CAUGHT_UP: u64 = 100;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) peer: Peer,
    pub(crate) votes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Learn(u64, Peer),
    Relocate(u64, Peer),
    Vote(u64),
    HandOver,
    Dismiss(u64),
    Forget(u64),
}

/// What there is: members of the log, who of them votes, and how far each got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Actual {
    pub(crate) peers: BTreeMap<u64, Peer>,
    pub(crate) voters: BTreeSet<u64>,
    pub(crate) matched: BTreeMap<u64, u64>,
    pub(crate) last: u64,
}

/// The next step from what there is to what is wanted, seen by leader `me`.
pub(crate) fn step(me: u64, wanted: &BTreeMap<u64, Wanted>, actual: &Actual) -> Option<Step> {
    if wanted.is_empty() {
        return None;
    }
    for (id, member) in wanted {
        match actual.peers.get(id) {
            None => return Some(Step::Learn(*id, member.peer.clone())),
            Some(peer) if peer.urls != member.peer.urls => {
                return Some(Step::Relocate(*id, member.peer.clone()));
            }
            Some(_) => {}
        }
        let behind = actual.last.saturating_sub(actual.matched.get(id).copied().unwrap_or(0));
        if member.votes && !actual.voters.contains(id) && behind <= CAUGHT_UP {
            return Some(Step::Vote(*id));
        }
    }
    let gone = actual.peers.keys().find(|id| !wanted.contains_key(id))?;
    Some(match actual.voters.contains(gone) {
        true if *gone == me && actual.voters.len() > 1 => Step::HandOver,
        true => Step::Dismiss(*gone),
        false => Step::Forget(*gone),
    })
}

pub(crate) async fn run(node: Node) {
    loop {
        sleep(Duration::from_millis(100)).await;
        if !node.is_leader() {
            continue;
        }
        let Ok(members) = node.view().members() else { continue };
        let wanted = members
            .into_iter()
            .map(|m| (m.id, Wanted { peer: Peer { name: m.name, urls: m.peer_ur_ls }, votes: !m.is_learner }))
            .collect();
        if let Some(step) = step(node.0.id, &wanted, &actual(&node)) {
            tracing::info!(?step, "changing the membership");
            let limit = node.0.options.request_timeout;
            if let Ok(Err(error)) = tokio::time::timeout(limit, take(&node, step)).await {
                tracing::debug!(error, "membership not changed, trying again");
            }
        }
    }
}

fn actual(node: &Node) -> Actual {
    let matched = node.status().matched;
    let metrics = node.0.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = &metrics.membership_config;
    Actual {
        peers: membership.nodes().map(|(id, peer)| (*id, peer.clone())).collect(),
        voters: membership.voter_ids().collect(),
        matched,
        last: metrics.last_log_index.map_or(0, |index| index + 1),
    }
}

async fn take(node: &Node, step: Step) -> Result<(), String> {
    let change = match step {
        Step::Learn(id, peer) => ChangeMembers::AddNodes([(id, peer)].into()),
        Step::Relocate(id, peer) => ChangeMembers::SetNodes([(id, peer)].into()),
        Step::Vote(id) => ChangeMembers::AddVoterIds([id].into()),
        Step::Dismiss(id) => ChangeMembers::RemoveVoters([id].into()),
        Step::Forget(id) => ChangeMembers::RemoveNodes([id].into()),
        Step::HandOver => {
            let status = node.status();
            let furthest =
                status.matched.iter().filter(|(id, _)| **id != node.0.id).max_by_key(|(_, at)| **at);
            let (to, _) = furthest.ok_or("nobody to hand over to")?;
            return node.move_leader(*to).await.map_err(|kind| kind.to_string());
        }
    };
    let done = node.0.raft.change_membership(change, false).await;
    done.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(url: &str) -> Peer {
        Peer { name: String::new(), urls: vec![url.into()] }
    }

    fn wanted(members: &[(u64, bool)]) -> BTreeMap<u64, Wanted> {
        members.iter().map(|(id, votes)| (*id, Wanted { peer: peer("u"), votes: *votes })).collect()
    }

    fn actual(members: &[(u64, bool)], matched: &[(u64, u64)]) -> Actual {
        Actual {
            peers: members.iter().map(|(id, _)| (*id, peer("u"))).collect(),
            voters: members.iter().filter(|(_, votes)| *votes).map(|(id, _)| *id).collect(),
            matched: matched.iter().copied().collect(),
            last: 1000,
        }
    }

    #[test]
    fn a_new_member_learns_first_and_votes_when_it_caught_up() {
        let want = wanted(&[(1, true), (2, true)]);
        assert_eq!(step(1, &want, &actual(&[(1, true)], &[])), Some(Step::Learn(2, peer("u"))));
        assert_eq!(step(1, &want, &actual(&[(1, true), (2, false)], &[(2, 500)])), None);
        assert_eq!(step(1, &want, &actual(&[(1, true), (2, false)], &[(2, 950)])), Some(Step::Vote(2)));
        let learner = wanted(&[(1, true), (2, false)]);
        assert_eq!(step(1, &learner, &actual(&[(1, true), (2, false)], &[(2, 1000)])), None);
    }

    #[test]
    fn a_removed_member_stops_voting_before_it_is_forgotten_and_a_leader_hands_over() {
        let want = wanted(&[(1, true), (2, true)]);
        let there = [(1, true), (2, true), (3, true)];
        assert_eq!(step(1, &want, &actual(&there, &[])), Some(Step::Dismiss(3)));
        assert_eq!(step(3, &want, &actual(&there, &[])), Some(Step::HandOver));
        let dismissed = [(1, true), (2, true), (3, false)];
        assert_eq!(step(1, &want, &actual(&dismissed, &[])), Some(Step::Forget(3)));
    }
}
