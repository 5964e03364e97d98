//! Containers: create, start, stop and so on; lists and inspection.

use std::sync::Arc;

use engine_api::container::NetworkingConfig;
use engine_api::host_config::HostConfig;
use engine_api::lenient;
use engine_image::{Platform, RunConfig};
use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Call, Done, Fail, parse_json};
use crate::daemon::Daemon;
use crate::daemon::create::CreateRequest;
use crate::daemon::error::Refusal;
use crate::daemon::filters::Filters;
use crate::daemon::kill::parse_signal;
use crate::daemon::list::ListOptions;

impl From<Refusal> for Fail {
    fn from(refusal: Refusal) -> Fail {
        Fail::Refused(refusal.status, refusal.message)
    }
}

pub(super) async fn create(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let bytes = call.json_bytes().await?;
    let body: Value = parse_json(&bytes)?;
    let name = call.query.text("name").to_owned();
    let platform = match call.query.text("platform") {
        _ if !call.at_least(41) => None,
        "" => None,
        text => Some(Platform::parse(text)?),
    };
    let mut request = read_create(name, &body, platform)?;
    let warning = super::gates::adapt_create(&mut request, call.version)?;
    let mut created = d.create(request).await?;
    created.warnings.extend(warning);
    let warnings =
        if call.at_least(25) || !created.warnings.is_empty() { json!(created.warnings) } else { Value::Null };
    call.reply_json(StatusCode::CREATED, &json!({ "Id": created.container.id, "Warnings": warnings })).await
}

fn read_create(name: String, body: &Value, platform: Option<Platform>) -> Result<CreateRequest, Fail> {
    const OWNER: &str = "container.CreateRequest";
    let config: RunConfig = lenient::from_value(body)?;
    let mut host = read_host(body, OWNER)?;
    let networking: NetworkingConfig = lenient::from_field(body, OWNER, "NetworkingConfig")?;
    let is_part =
        |key: &str| key.eq_ignore_ascii_case("HostConfig") || key.eq_ignore_ascii_case("NetworkingConfig");
    if body.as_object().is_none_or(|o| o.keys().all(|key| is_part(key))) {
        return Err(Fail::bad("config cannot be empty in order to create a container"));
    }
    if let Some(name) = unsaid_endpoint(body) {
        return Err(Fail::bad(format!("no EndpointSettings for {name}")));
    }
    if host.memory_swappiness == Some(-1) {
        host.memory_swappiness = None;
    }
    Ok(CreateRequest { name, config, host, networking, platform, flat_readonly: false })
}

/// Before there was a `HostConfig`, its settings stood in the request itself, and there they still count.
fn read_host(body: &Value, owner: &str) -> Result<HostConfig, Fail> {
    let outer: HostConfig = lenient::from_value(body)?;
    let is_there = |o: &serde_json::Map<String, Value>| {
        o.iter().any(|(key, value)| key.eq_ignore_ascii_case("HostConfig") && !value.is_null())
    };
    if !body.as_object().is_some_and(is_there) {
        return Ok(outer);
    }
    let mut host: HostConfig = lenient::from_field(body, owner, "HostConfig")?;
    for (own, old) in [
        (&mut host.memory, outer.memory),
        (&mut host.memory_swap, outer.memory_swap),
        (&mut host.cpu_shares, outer.cpu_shares),
    ] {
        if *own == 0 {
            *own = old;
        }
    }
    for (own, old) in
        [(&mut host.cpuset_cpus, outer.cpuset_cpus), (&mut host.volume_driver, outer.volume_driver)]
    {
        if own.is_empty() {
            *own = old;
        }
    }
    Ok(host)
}

/// A network of which nothing is said, not even that there is nothing to say.
fn unsaid_endpoint(body: &Value) -> Option<&str> {
    let endpoints = body.get("NetworkingConfig")?.get("EndpointsConfig")?.as_object()?;
    endpoints.iter().find(|(_, settings)| settings.is_null()).map(|(name, _)| name.as_str())
}

pub(super) async fn list(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let limit = call.query.number("limit")?;
    let options = ListOptions {
        all: call.query.flag("all"),
        limit: limit.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0),
        size: call.query.flag("size"),
        filters: Filters::parse(call.query.text("filters"))?,
        annotations: call.at_least(46),
    };
    let lines = d.list(options)?;
    call.ok_json(&lines).await
}

pub(super) async fn inspect(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let container = d.find_linked(id)?;
    let body = d.inspect(&container, call.query.flag("size"), call.version)?;
    call.ok_json(&body).await
}

/// The least that a JSON object with something in it takes.
const LEAST_JSON: u64 = 7;

pub(super) async fn start(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    if call.ex.body_length().is_none_or(|length| length > LEAST_JSON) {
        return Err(Fail::bad(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    let container = d.containers.find(id)?;
    let started = d.start(&container).await?;
    call.empty(if started { StatusCode::NO_CONTENT } else { StatusCode::NOT_MODIFIED }).await
}

pub(super) async fn stop(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let timeout = call.query.number("t")?;
    let container = d.containers.find(id)?;
    let signal = if call.at_least(42) { call.query.text("signal").to_owned() } else { String::new() };
    let stopped = d.stop(&container, timeout, &signal).await?;
    call.empty(if stopped { StatusCode::NO_CONTENT } else { StatusCode::NOT_MODIFIED }).await
}

pub(super) async fn restart(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let timeout = call.query.number("t")?;
    let container = d.containers.find(id)?;
    let signal = if call.at_least(42) { call.query.text("signal").to_owned() } else { String::new() };
    d.restart(&container, timeout, &signal).await?;
    call.empty(StatusCode::NO_CONTENT).await
}

pub(super) async fn kill(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let signal = call.query.text("signal").to_owned();
    // Every number but zero may be one, until there is a container to send it to.
    let number = signal.parse::<i32>().ok().filter(|number| *number != 0);
    if !signal.is_empty() && number.is_none() {
        parse_signal(&signal)?;
    }
    let found = d.containers.find(id);
    let container = found.map_err(|missing| {
        Fail::Refused(missing.status, format!("Cannot kill container: {id}: {missing}"))
    })?;
    if let Some(number) = number.filter(|_| parse_signal(&signal).is_err()) {
        return Err(Fail::bad(format!(
            "Cannot kill container: {id}: The linux daemon does not support signal {number}"
        )));
    }
    d.kill(&container, id, &signal).await?;
    call.empty(StatusCode::NO_CONTENT).await
}

pub(super) async fn pause(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    d.pause(&*d.containers.find(id)?).await?;
    call.empty(StatusCode::NO_CONTENT).await
}

pub(super) async fn unpause(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    d.unpause(&*d.containers.find(id)?).await?;
    call.empty(StatusCode::NO_CONTENT).await
}

pub(super) async fn rename(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let name = call.query.text("name").to_owned();
    if name.is_empty() {
        return Err(Fail::bad("Neither old nor new names may be empty"));
    }
    let container = d.containers.find(id)?;
    d.rename(&container, &name).await?;
    call.empty(StatusCode::NO_CONTENT).await
}

pub(super) async fn remove(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    if call.query.flag("link") {
        d.remove_link(id)?;
        return call.empty(StatusCode::NO_CONTENT).await;
    }
    let (force, volumes) = (call.query.flag("force"), call.query.flag("v"));
    let container = d.find_linked(id)?;
    d.remove(&container, force, volumes).await?;
    call.empty(StatusCode::NO_CONTENT).await
}

/// The condition holds from when the headers are out, so a client that has them may start the container.
pub(super) async fn wait(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let condition = call.query.text("condition").to_owned();
    if !matches!(condition.as_str(), "" | "not-running" | "next-exit" | "removed") {
        return Err(Fail::bad(format!("invalid condition: {condition:?}")));
    }
    let container = d.containers.find(id)?;
    let mut phase = container.phase.subscribe();
    let exits = phase.borrow().exits;
    let done = move |p: &crate::daemon::container::Phase| match condition.as_str() {
        "" | "not-running" => !p.running || p.exits > exits,
        "next-exit" => p.exits > exits || p.removed,
        "removed" => p.removed || p.removal_error.is_some(),
        _ => true,
    };
    let _waiter = (call.query.text("condition") == "removed").then(|| container.removal_waiters.join());
    let mut reply = call.ex.stream(StatusCode::OK, "application/json").await?;
    let ended = tokio::select! {
        ended = phase.wait_for(done) => ended.map(|p| p.clone()).unwrap_or_default(),
        () = reply.closed() => return Ok(()),
    };
    let error = ended.removal_error.map_or(Value::Null, |message| json!({ "Message": message }));
    let body = json!({ "Error": error, "StatusCode": ended.exit_code });
    reply.send(format!("{body}\n").as_bytes()).await?;
    Ok(reply.end().await?)
}
