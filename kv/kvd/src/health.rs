//! Whether this member is well, as probes ask: `/health` of old, `/livez` and `/readyz` with their named checks.

use http::{Method, Response, StatusCode};
use kv_api::{
    ErrorKind,
    etcdserverpb::{AlarmMember, AlarmType},
};
use serde_json::json;

use crate::{
    http::{method_not_allowed, reply},
    serve::Body,
    server::Core,
    v2::form::fields,
};

const PLAIN: &str = "text/plain; charset=utf-8";
const LIVE: &[&str] = &["serializable_read"];
const READY: &[&str] = &["data_corruption", "serializable_read", "linearizable_read"];

/// Answers what is about health; none when the path is not.
pub(crate) async fn answer(core: &Core, method: &Method, path: &str, query: &str) -> Option<Response<Body>> {
    let (all, only) = match path {
        "/health" => return Some(health(core, method, query).await),
        "/livez" => (LIVE, None),
        "/readyz" => (READY, None),
        _ => match (path.strip_prefix("/livez/"), path.strip_prefix("/readyz/")) {
            (Some(name), _) => (LIVE, Some(name)),
            (_, Some(name)) => (READY, Some(name)),
            _ => return None,
        },
    };
    if only.is_some_and(|name| !all.contains(&name)) {
        return None;
    }
    if *method != Method::GET {
        return Some(method_not_allowed());
    }
    let query = fields(query);
    let excluded = |name: &str| query.iter().any(|(field, value)| field == "exclude" && value == name);
    let wanted = all.iter().filter(|name| match only {
        Some(only) => **name == only,
        None => !excluded(name),
    });
    let (mut told, mut good) = (String::new(), true);
    for name in wanted {
        match check(core, name).await {
            Ok(()) => told.push_str(&format!("[+]{name} ok\n")),
            Err(why) => {
                good = false;
                told.push_str(&format!("[-]{name} failed: {why}\n"));
            }
        }
    }
    core.metrics.asked_health(good);
    Some(match good {
        false => reply(StatusCode::SERVICE_UNAVAILABLE, PLAIN, told + "\n"),
        true if query.iter().any(|(field, _)| field == "verbose") => {
            reply(StatusCode::OK, PLAIN, told + "ok\n")
        }
        true => reply(StatusCode::OK, PLAIN, "ok\n"),
    })
}

async fn check(core: &Core, name: &str) -> Result<(), String> {
    match name {
        "data_corruption" => match alarms(core).iter().any(|raised| raised.alarm() == AlarmType::Corrupt) {
            true => Err("alarm activated: CORRUPT".to_owned()),
            false => Ok(()),
        },
        "linearizable_read" => read(core, false).await.map_err(|kind| kind.to_string()),
        _ => read(core, true).await.map_err(|kind| kind.to_string()),
    }
}

async fn read(core: &Core, serializable: bool) -> Result<(), ErrorKind> {
    let view = core.view(serializable).await?;
    view.member(core.node.id()).map(drop).map_err(|_| ErrorKind::Corrupt)
}

fn alarms(core: &Core) -> Vec<AlarmMember> {
    core.node.view().alarms().unwrap_or_default()
}

async fn health(core: &Core, method: &Method, query: &str) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return method_not_allowed();
    }
    let query = fields(query);
    let has = |field: &str, value: &str| query.iter().any(|(f, v)| f == field && v == value);
    let serializable = has("serializable", "true");
    let kind = |raised: &AlarmMember| raised.alarm().as_str_name();
    let raised = alarms(core);
    let reason = if let Some(raised) = raised.iter().find(|raised| !has("exclude", kind(raised))) {
        Some(format!("ALARM {}", kind(raised)))
    } else if !serializable && !core.node.has_leader() {
        Some("RAFT NO LEADER".to_owned())
    } else {
        read(core, serializable).await.err().map(|kind| format!("QGET ERROR:{kind}"))
    };
    core.metrics.asked_health(reason.is_none());
    let good = if reason.is_none() { "true" } else { "false" };
    let text = json!({"health": good, "reason": reason.clone().unwrap_or_default()}).to_string();
    match reason {
        None => reply(StatusCode::OK, PLAIN, text),
        Some(_) => reply(StatusCode::SERVICE_UNAVAILABLE, PLAIN, text + "\n"),
    }
}
