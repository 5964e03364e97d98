//! What happens in the engine, told as it happens and kept for a while for those who ask later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::clock::{self, Nanos};

/// Past events that can be asked for, as in dockerd.
const KEPT: usize = 256;
/// Events a slow listener may lag behind before it loses some.
const LAG: usize = 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    pub(crate) action: String,
    pub(crate) id: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) at: Nanos,
}

impl Event {
    /// As the API sends it; `legacy` adds the fields of old versions.
    pub(crate) fn json(&self, legacy: bool) -> Value {
        let mut body = json!({
            "Type": self.kind,
            "Action": self.action,
            "Actor": { "ID": self.id, "Attributes": self.attributes },
            "scope": "local",
            "time": self.at.div_euclid(1_000_000_000),
            "timeNano": self.at,
        });
        if legacy && matches!(self.kind, "container" | "image") {
            body["status"] = self.action.clone().into();
            body["id"] = self.id.clone().into();
            if let Some(image) = self.attributes.get("image").filter(|_| self.kind == "container") {
                body["from"] = image.clone().into();
            }
        }
        body
    }
}

/// Where events are told and heard.
pub(crate) struct Events {
    past: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
    told: AtomicU64,
}

impl Default for Events {
    fn default() -> Events {
        Events { past: Mutex::default(), live: broadcast::channel(LAG).0, told: AtomicU64::new(0) }
    }
}

impl Events {
    pub(crate) fn tell(
        &self,
        kind: &'static str,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        self.told.fetch_add(1, Ordering::Relaxed);
        let mut past = self.past.lock().expect("no code panics holding it");
        // The clock is read under the lock, so that events are in the order of their times.
        let event = Event { kind, action: action.into(), id: id.into(), attributes, at: clock::now() };
        past.push_back(event.clone());
        if past.len() > KEPT {
            past.pop_front();
        }
        // Nobody may be listening.
        let _ = self.live.send(event);
    }

    /// The kept events from `since` on, and what comes after them: none lost, none twice.
    pub(crate) fn listen(&self, since: Option<Nanos>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.past.lock().expect("no code panics holding it");
        let old = match since {
            Some(since) => past.iter().filter(|e| e.at >= since).cloned().collect(),
            None => Vec::new(),
        };
        (old, self.live.subscribe())
    }

    /// How many since the engine runs.
    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }
}

/// Attributes from pairs.
pub(crate) fn attributes<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn past_and_live_join_without_a_gap() {
        let events = Events::default();
        events.tell("volume", "create", "a", attributes([("driver", "local")]));
        let (old, mut live) = events.listen(Some(0));
        events.tell("volume", "destroy", "a", attributes([]));
        assert_eq!(old.len(), 1);
        assert_eq!(live.recv().await.unwrap().action, "destroy");
        assert!(events.listen(None).0.is_empty());
    }

    #[test]
    fn old_fields_are_for_containers_and_images() {
        let e = Event {
            kind: "container",
            action: "die".into(),
            id: "x".into(),
            attributes: attributes([("image", "bb")]),
            at: 1_500_000_000,
        };
        let body = e.json(true);
        assert_eq!(
            (body["status"].as_str(), body["from"].as_str(), body["time"].as_i64()),
            (Some("die"), Some("bb"), Some(1))
        );
        assert!(e.json(false).get("status").is_none());
    }
}
