//! What a watch is told: events made of changes, and large responses cut into fragments for who asked for that.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use kv_api::{
    etcdserverpb::WatchResponse,
    mvccpb::{Event, KeyValue},
};
use kv_core::{Change, View};
use prost::Message as _;

/// Pairs as they were before a change, shared between the watches that want them.
pub(super) type Before = HashMap<(Bytes, i64), Arc<Option<KeyValue>>>;

pub(super) fn events(changes: &[&Change], prev_kv: bool, view: &View, before: &mut Before) -> Vec<Event> {
    let with_previous = |change: &&Change| {
        let mut event = change.event.clone();
        if prev_kv {
            let at = (change.key().clone(), change.revision());
            let previous =
                before.entry(at).or_insert_with(|| Arc::new(view.before(change).unwrap_or_default()));
            event.prev_kv.clone_from(previous);
        }
        event
    };
    changes.iter().map(with_previous).collect()
}

/// How many of the changes, whole revisions, are about as large as `most`; at least one revision.
pub(super) fn prefix(changes: &[&Change], most: usize) -> usize {
    let mut bytes = 0;
    for (at, change) in changes.iter().enumerate() {
        let begins = at == 0 || changes[at - 1].revision() < change.revision();
        if begins && bytes >= most {
            return at;
        }
        bytes += change.event.encoded_len();
    }
    changes.len()
}

/// The response in pieces smaller than `most`, as far as single events are; all but the last say that more follows.
pub(super) fn fragments(response: WatchResponse, most: usize) -> Vec<WatchResponse> {
    if response.encoded_len() < most || response.events.len() < 2 {
        return vec![response];
    }
    let WatchResponse { events, .. } = response;
    let head = WatchResponse { events: Vec::new(), fragment: true, ..response };
    let overhead = head.encoded_len();
    let mut pieces = Vec::new();
    let (mut piece, mut size) = (head.clone(), overhead);
    for event in events {
        let length = event.encoded_len();
        // Its tag and length come before it.
        let length = length + prost::length_delimiter_len(length) + 1;
        if !piece.events.is_empty() && size + length >= most {
            pieces.push(std::mem::replace(&mut piece, head.clone()));
            size = overhead;
        }
        size += length;
        piece.events.push(event);
    }
    pieces.push(WatchResponse { fragment: false, ..piece });
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_are_below_the_limit_and_lose_nothing() {
        let event = |number: usize| Event {
            kv: Some(KeyValue { value: vec![b'x'; number * 7 % 400].into(), ..Default::default() }),
            ..Default::default()
        };
        let all: Vec<Event> = (0..100).map(event).collect();
        let response = WatchResponse { watch_id: 7, events: all.clone(), ..Default::default() };
        let pieces = fragments(response.clone(), 1000);
        assert!(pieces.len() > 10, "{}", pieces.len());
        assert!(pieces.iter().all(|piece| piece.encoded_len() < 1000 && piece.watch_id == 7));
        let (last, others) = pieces.split_last().expect("some");
        assert!(!last.fragment && others.iter().all(|piece| piece.fragment));
        let events: Vec<Event> = pieces.iter().flat_map(|piece| piece.events.clone()).collect();
        assert_eq!(events, all);
        assert_eq!(fragments(response, 1 << 20).len(), 1);
        let large = WatchResponse { events: vec![event(57); 3], ..Default::default() };
        assert_eq!(fragments(large, 100).len(), 3, "an event is never cut");
    }
}
