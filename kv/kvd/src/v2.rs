//! The first API over HTTP: keys, members, and the discovery service built on keys. The tree itself is in `kv-core`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Method, Response, StatusCode};
use kv_api::{
    ErrorKind,
    internal::{V2Request, op, reply, v2_request::Action},
};
use kv_core::v2::{self, Error, Refusal};
use serde_json::{Value, json};

use crate::{
    http::{Whole, reply as http_reply},
    serve::Body,
    server::Core,
};

/// A poll without news ends after this; clients then ask again.
const LONGEST_POLL: Duration = Duration::from_secs(300);
/// A discovery token is of this many hex digits.
const TOKEN_DIGITS: usize = 32;
/// Tokens end by themselves.
const TOKEN_TTL: i64 = 7 * 24 * 3600;

/// Whether a path is a discovery token's, as the URL that `/new` answers.
pub(crate) fn is_token(path: &str) -> bool {
    let token = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    token.len() == TOKEN_DIGITS && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// Answers a request to `/v2/...`, `/new` or a token.
pub(crate) async fn answer(core: Arc<Core>, request: Whole) -> Response<Body> {
    let path = request.path.clone();
    if let Some(key) = path.strip_prefix("/v2/keys") {
        return keys(&core, key, request).await;
    }
    if is_token(&path) {
        return keys(&core, &format!("/discovery{path}"), request).await;
    }
    if path == "/v1/clusters" || path.starts_with("/v1/clusters/") {
        return swarm(&core, &request).await;
    }
    match path.as_str() {
        "/new" => new_token(&core, &request).await,
        "/v2/machines" => {
            let members = core.node.view().members().unwrap_or_default();
            let urls: Vec<String> = members.into_iter().flat_map(|member| member.client_ur_ls).collect();
            http_reply(StatusCode::OK, "text/plain; charset=utf-8", urls.join(", "))
        }
        "/v2/members" => {
            let members = core.node.view().members().unwrap_or_default();
            let listed: Vec<Value> = members.iter().map(member).collect();
            json_reply(StatusCode::OK, &json!({"members": listed}))
        }
        "/v2/members/leader" => {
            let leader = core.node.status().leader.unwrap_or(0);
            let member_of = core.node.view().member(leader).ok().flatten();
            json_reply(StatusCode::OK, &member_of.as_ref().map_or(Value::Null, member))
        }
        "/v2/stats/self" => {
            let status = core.node.status();
            let state = if status.leader == Some(status.id) { "StateLeader" } else { "StateFollower" };
            let leader = format!("{:x}", status.leader.unwrap_or(0));
            let id = format!("{:x}", status.id);
            let stats =
                json!({"name": core.config.name, "id": id, "state": state, "leaderInfo": {"leader": leader}});
            json_reply(StatusCode::OK, &stats)
        }
        _ => http_reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}

fn member(member: &kv_api::etcdserverpb::Member) -> Value {
    let id = format!("{:x}", member.id);
    json!({"id": id, "name": member.name, "peerURLs": member.peer_ur_ls, "clientURLs": member.client_ur_ls})
}

fn json_reply(status: StatusCode, value: &Value) -> Response<Body> {
    http_reply(status, "application/json", format!("{value}\n"))
}

/// A request's form: query and body, the body's last.
struct Form(Vec<(String, String)>);

impl Form {
    fn of(request: &Whole) -> Self {
        let mut fields = Vec::new();
        let is_form = request
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        let parts = [request.query.as_str(), if is_form { &request.body } else { "" }];
        for pair in parts.iter().flat_map(|part| part.split('&')).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            fields.push((decode(name), decode(value)));
        }
        Self(fields)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "1" | "t" | "True" | "TRUE") => Ok(Some(true)),
            Some("false" | "0" | "f" | "False" | "FALSE") => Ok(Some(false)),
            Some(_) => Err(Refusal { code: 209, cause: format!("invalid value for \"{name}\"") }),
        }
    }

    fn number(&self, name: &str, code: u16) -> Result<Option<u64>, Refusal> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => {
                let bad = |_| Refusal { code, cause: format!("invalid value for \"{name}\"") };
                text.parse().map(Some).map_err(bad)
            }
        }
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let code = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(code.unwrap_or(b'?'));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn keys(core: &Core, key: &str, request: Whole) -> Response<Body> {
    let path = decode(&key.replace('+', "%2B"));
    let form = Form::of(&request);
    let result = match request.method {
        Method::GET | Method::HEAD => get(core, &path, &form).await,
        Method::PUT => change(core, &path, &form, Action::Set).await,
        Method::POST => change(core, &path, &form, Action::CreateInOrder).await,
        Method::DELETE => change(core, &path, &form, Action::Delete).await,
        _ => return http_reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "Method Not Allowed\n"),
    };
    let status_now = core.node.status();
    let index = core.node.view().revision();
    let mut response = match result {
        Ok((status, text)) => http_reply(status, "application/json", format!("{text}\n")),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            http_reply(status, "application/json", format!("{}\n", refusal.to_json(index)))
        }
    };
    let headers = [
        ("x-etcd-cluster-id", format!("{:x}", core.cluster_id)),
        ("x-etcd-index", index.to_string()),
        ("x-raft-index", status_now.last_index.to_string()),
        ("x-raft-term", status_now.term.to_string()),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn refused(kind: ErrorKind) -> Refusal {
    let code = if kind == ErrorKind::NoLeader { 301 } else { 300 };
    Refusal { code, cause: kind.text().to_owned() }
}

async fn get(core: &Core, path: &str, form: &Form) -> Result<(StatusCode, String), Refusal> {
    let recursive = form.flag("recursive")?.unwrap_or(false);
    if form.flag("wait")?.unwrap_or(false) {
        let from = form.number("waitIndex", 203)?;
        return Ok((StatusCode::OK, wait(core, path, recursive, from).await?));
    }
    let quorum = form.flag("quorum")?.unwrap_or(false);
    let view = core.view(!quorum).await.map_err(refused)?;
    match v2::get(&view, path, recursive, now_ms()) {
        Ok(text) => Ok((StatusCode::OK, text)),
        Err(Error::Refused(refusal)) => Err(refusal),
        Err(Error::Failed(failure)) => Err(Refusal { code: 300, cause: failure.to_string() }),
    }
}

/// Waits for the first change of a path at or after an index; old indices are answered from history.
async fn wait(core: &Core, path: &str, recursive: bool, from: Option<u64>) -> Result<String, Refusal> {
    let mut applied = core.node.applied();
    let mut next = from.filter(|from| *from > 0).map_or(core.node.view().revision() + 1, |from| from as i64);
    let failed = |error: std::io::Error| Refusal { code: 300, cause: error.to_string() };
    let deadline = tokio::time::Instant::now() + LONGEST_POLL;
    loop {
        let view = core.node.view();
        if next < view.compacted() {
            let cause = format!("the requested history has been cleared [{}/{next}]", view.compacted());
            return Err(Refusal { code: 401, cause });
        }
        while next <= view.revision() {
            let (changes, after) = view.changes(next, 1000).map_err(failed)?;
            for change in &changes {
                if let Some(text) = v2::watched(&view, change, path, recursive, now_ms()).map_err(failed)? {
                    return Ok(text);
                }
            }
            next = after;
        }
        if tokio::time::timeout_at(deadline, applied.changed()).await.is_err() {
            return Ok(String::new());
        }
    }
}

async fn change(
    core: &Core,
    path: &str,
    form: &Form,
    action: Action,
) -> Result<(StatusCode, String), Refusal> {
    let ttl = match form.get("ttl") {
        None => None,
        Some("") => Some(0),
        Some(_) => form.number("ttl", 202)?.map(|ttl| ttl as i64),
    };
    let prev_value = form.get("prevValue").map(str::to_owned);
    if prev_value.as_deref() == Some("") {
        return Err(Refusal { code: 201, cause: "\"prevValue\" cannot be empty".to_owned() });
    }
    let request = V2Request {
        action: action.into(),
        path: path.to_owned(),
        value: form.get("value").unwrap_or_default().to_owned(),
        dir: form.flag("dir")?.unwrap_or(false),
        recursive: form.flag("recursive")?.unwrap_or(false),
        ttl_seconds: ttl,
        prev_exist: form.flag("prevExist")?,
        prev_value,
        prev_index: form.number("prevIndex", 203)?.unwrap_or(0),
        refresh: form.flag("refresh")?.unwrap_or(false),
    };
    match core.propose(op::Op::V2(request)).await.map_err(refused)? {
        reply::Reply::V2(text) => {
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(code) = value.get("errorCode").and_then(Value::as_u64) {
                let cause = value.get("cause").and_then(Value::as_str).unwrap_or_default().to_owned();
                return Err(Refusal { code: code as u16, cause });
            }
            let created = value.get("prevNode").is_none() && action != Action::Delete;
            Ok((if created { StatusCode::CREATED } else { StatusCode::OK }, text))
        }
        _ => Err(Refusal { code: 300, cause: "not an answer".to_owned() }),
    }
}

/// Makes a discovery token for a cluster of `size` members and answers its URL.
async fn new_token(core: &Core, request: &Whole) -> Response<Body> {
    let form = Form::of(request);
    let size = form.get("size").unwrap_or("3");
    if size.parse::<u32>().map_or(true, |size| size == 0 || size > 1000) {
        let text = format!("size `{size}` is not a number of members, 1 to 1000\n");
        return http_reply(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", text);
    }
    let token = format!("{:032x}", rand::random::<u128>());
    let dir = |path: &str, ttl| V2Request {
        action: Action::Set.into(),
        path: path.to_owned(),
        dir: true,
        ttl_seconds: ttl,
        ..Default::default()
    };
    let config = V2Request {
        action: Action::Set.into(),
        path: format!("/discovery/{token}/_config/size"),
        value: size.to_owned(),
        ..Default::default()
    };
    for change in [dir(&format!("/discovery/{token}"), Some(TOKEN_TTL)), config] {
        if let Err(kind) = core.propose(op::Op::V2(change)).await {
            return http_reply(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain; charset=utf-8",
                format!("{kind}\n"),
            );
        }
    }
    let host = request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let base = match host {
        Some(host) => format!("http://{host}"),
        None => core.config.advertise_client.first().cloned().unwrap_or_default(),
    };
    http_reply(StatusCode::OK, "text/plain; charset=utf-8", format!("{base}/{token}"))
}

/// The swarm token protocol: POST makes a token, POST to it lists a member for a while, GET tells who is listed.
async fn swarm(core: &Core, request: &Whole) -> Response<Body> {
    let text = |status, text: String| http_reply(status, "text/plain; charset=utf-8", text);
    let token = request.path.trim_start_matches("/v1/clusters").trim_matches('/').to_owned();
    let set = |path: String, value: &str, ttl| V2Request {
        action: Action::Set.into(),
        path,
        dir: value.is_empty(),
        value: value.to_owned(),
        ttl_seconds: Some(ttl),
        ..Default::default()
    };
    let change = match (&request.method, token.as_str()) {
        (&Method::POST, "") => {
            let token = format!("{:032x}", rand::random::<u128>());
            return match core.propose(op::Op::V2(set(format!("/swarm/{token}"), "", TOKEN_TTL))).await {
                Ok(_) => text(StatusCode::OK, format!("\"{token}\"")),
                Err(kind) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{kind}\n")),
            };
        }
        (_, token) if !is_token(token) => return text(StatusCode::NOT_FOUND, "no such token\n".to_owned()),
        (&Method::GET, token) => {
            let found = v2::get(&core.node.view(), &format!("/swarm/{token}"), false, now_ms());
            let Ok(found) = found else { return text(StatusCode::NOT_FOUND, "no such token\n".to_owned()) };
            let found: Value = serde_json::from_str(&found).unwrap_or_default();
            let nodes = found["node"]["nodes"].as_array().cloned().unwrap_or_default();
            let entries: Vec<&Value> = nodes.iter().map(|node| &node["value"]).collect();
            return json_reply(StatusCode::OK, &json!(entries));
        }
        (&Method::POST, token) => {
            let entry = request.body.trim();
            if entry.is_empty() || entry.len() > 256 || entry.contains('/') {
                return text(StatusCode::BAD_REQUEST, "the body must be HOST:PORT\n".to_owned());
            }
            set(format!("/swarm/{token}/{entry}"), entry, 180)
        }
        (&Method::DELETE, token) => V2Request {
            action: Action::Delete.into(),
            path: format!("/swarm/{token}"),
            recursive: true,
            ..Default::default()
        },
        _ => return text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned()),
    };
    match core.propose(op::Op::V2(change)).await {
        Ok(_) => text(StatusCode::OK, "OK".to_owned()),
        Err(kind) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{kind}\n")),
    }
}

/// Proposes the end of v2 nodes whose time has come. Leader only.
pub(crate) async fn expire(core: Arc<Core>) {
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        while core.node.is_leader()
            && let Ok(Some(path)) = v2::due(&core.node.view(), now_ms())
        {
            let request = V2Request { action: Action::Expire.into(), path, ..Default::default() };
            if core.propose(op::Op::V2(request)).await.is_err() {
                break;
            }
        }
    }
}
