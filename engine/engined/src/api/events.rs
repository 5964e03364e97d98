//! `GET /events`: what happened and what happens, as it happens.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::broadcast::error::RecvError;

use super::call::{Call, Done, Fail};
use crate::clock::{self, Nanos};
use crate::daemon::Daemon;
use crate::daemon::events::Event;
use crate::daemon::filters::Filters;

pub(super) async fn events(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let time = |key: &str| match call.query.text(key) {
        "" => Ok(None),
        text => clock::parse_unix(text).map(Some).ok_or_else(|| super::call::no_number(text)),
    };
    let (since, until) = (time("since")?, time("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        let (since, until) = (call.query.text("since"), call.query.text("until"));
        return Err(Fail::bad(format!("`since` time ({since}) cannot be after `until` time ({until})")));
    }
    let filters = Filters::parse(call.query.text("filters"))?;
    // With only an end, what is kept counts from the beginning.
    let from = since.or(until.map(|_| 0));
    let (past, mut live) = d.events.listen(from);
    let mut reply = call.ex.stream(StatusCode::OK, "application/json").await?;
    let wanted = |e: &Event| until.is_none_or(|u| e.at <= u) && matches(e, &filters);
    for event in past.iter().filter(|e| wanted(e)) {
        reply.send(&line(event)).await?;
    }
    let deadline = tokio::time::sleep(until.map_or(Duration::MAX, left_until));
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            event = live.recv() => match event {
                Ok(event) if wanted(&event) => reply.send(&line(&event)).await?,
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "a listener to events was too slow"),
                Err(RecvError::Closed) => break,
            },
            () = &mut deadline => break,
            () = reply.closed() => return Ok(()),
        }
    }
    Ok(reply.end().await?)
}

fn left_until(until: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(until - clock::now()).unwrap_or(0))
}

fn line(event: &Event) -> Vec<u8> {
    let mut bytes = event.json(true).to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn matches(event: &Event, filters: &Filters) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map_or("", String::as_str);
    let named = |value: &str| event.id == value || event.id.starts_with(value) || attribute("name") == value;
    let of = |kind: &str, value: &str| event.kind == kind && named(value);
    let action = event.action.split(':').next().unwrap_or_default();
    filters.any("event", |v| event.action == v || action == v)
        && filters.any("type", |v| event.kind == v)
        && filters.any("scope", |v| v == "local")
        && filters.any("daemon", |_| event.kind == "daemon")
        && filters.any("container", |v| of("container", v))
        && filters.any("volume", |v| of("volume", v))
        && filters.any("network", |v| of("network", v))
        && filters.any("plugin", |v| of("plugin", v))
        && filters.any("image", |v| image_matches(event, v))
        && filters.labels("label", &event.attributes)
}

fn image_matches(event: &Event, wanted: &str) -> bool {
    let bare = |name: &str| {
        name.rsplit_once(':').map_or(name.to_owned(), |(repo, tag)| {
            if tag.contains('/') { name.to_owned() } else { repo.to_owned() }
        })
    };
    let name = match event.kind {
        "container" => event.attributes.get("image").cloned().unwrap_or_default(),
        "image" => event.attributes.get("name").cloned().unwrap_or_default(),
        _ => return false,
    };
    event.id == wanted || name == wanted || bare(&name) == wanted
}
