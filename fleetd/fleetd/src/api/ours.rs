//! What fleet had not: why a unit is where it is, and the stream of what happens.

use std::convert::Infallible;

use bytes::Bytes;
use fleet_api::{ClusterEvent, Why};
use fleet_registry::{Change, Changes, Registry};
use fleet_unit::UnitName;
use http::StatusCode;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::reply::{Reply, error, json, with_body};
use super::{Api, store_error};
use crate::view::View;

/// Events that a slow reader may be behind; then its stream ends.
const BEHIND: usize = 1024;

impl Api {
    /// Explains from what the store says now, so that any machine can answer.
    pub(super) async fn why(&self, name: &str) -> Reply {
        let snapshot = match self.registry.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(failure) => return store_error(&failure),
        };
        let name: Option<UnitName> = super::percent_decoded(name).parse().ok();
        let view = View::new(snapshot);
        let Some((name, why)) = name.and_then(|name| Some((name.clone(), view.cluster.explain(&name)?)))
        else {
            return error(StatusCode::NOT_FOUND, "unit does not exist");
        };
        json(&Why {
            name: name.to_string(),
            explanation: why.to_string(),
            machine_id: why.machine.map(|id| id.0).unwrap_or_default(),
            machines: why.machines,
            eligible: why.eligible,
        })
    }

    /// One JSON object a line, until the client leaves.
    pub(super) fn events(&self) -> Reply {
        let (send, receive) = mpsc::channel::<Bytes>(BEHIND);
        tokio::spawn(tell_events(self.registry.clone(), send));
        let frames = ReceiverStream::new(receive).map(|line| Ok::<_, Infallible>(Frame::data(line)));
        with_body(StatusCode::OK, "application/x-ndjson", BodyExt::boxed(StreamBody::new(frames)))
    }
}

async fn tell_events(registry: Registry, send: mpsc::Sender<Bytes>) {
    let Ok(snapshot) = registry.snapshot().await else { return };
    let Ok(mut watch) = registry.watch_all(snapshot.revision).await else { return };
    loop {
        let changes = tokio::select! {
            changes = watch.next() => changes,
            () = send.closed() => return,
        };
        let Ok(changes) = changes else { return };
        for event in events(changes) {
            let mut line = serde_json::to_vec(&event).expect("an event holds only strings and a number");
            line.push(b'\n');
            if send.try_send(line.into()).is_err() {
                return;
            }
        }
    }
}

fn events(changes: Changes) -> impl Iterator<Item = ClusterEvent> {
    let revision = changes.revision;
    changes.changes.into_iter().filter_map(move |change| {
        let event = |kind: &str, set: bool| ClusterEvent {
            revision,
            kind: kind.to_owned(),
            action: if set { "set" } else { "removed" }.to_owned(),
            ..ClusterEvent::default()
        };
        Some(match change {
            Change::Unit(name, unit) => ClusterEvent {
                unit: name.to_string(),
                detail: unit.as_ref().map(|unit| unit.target.to_string()).unwrap_or_default(),
                ..event("unit", unit.is_some())
            },
            Change::Schedule(machine_id, name, it) => ClusterEvent {
                unit: name.to_string(),
                machine_id,
                detail: it.as_ref().map(|it| it.target.to_string()).unwrap_or_default(),
                ..event("schedule", it.is_some())
            },
            Change::State(machine_id, name, state) => ClusterEvent {
                unit: name.to_string(),
                machine_id,
                detail: state.as_ref().map(|it| format!("{} {}", it.active, it.sub)).unwrap_or_default(),
                ..event("state", state.is_some())
            },
            Change::Machine(machine_id, record) => {
                ClusterEvent { machine_id, ..event("machine", record.is_some()) }
            }
            Change::Drain(machine_id, draining) => ClusterEvent { machine_id, ..event("drain", draining) },
            Change::Metadata(machine_id, key, value) => ClusterEvent {
                machine_id,
                detail: format!("{key}={}", value.clone().unwrap_or_default()),
                ..event("metadata", value.is_some())
            },
            Change::Removed(machine_id, removed) => ClusterEvent { machine_id, ..event("removal", removed) },
            Change::Global(..) => return None,
        })
    })
}
