//! The first API over HTTP: keys, and the way to members and to the services built on keys. The tree itself is in
//! `kv-core`.

pub(crate) mod form;
mod members;
mod stats;
mod tokens;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use kv_api::{
    ErrorKind,
    internal::{V2Request, op, reply, v2_request::Action},
};
use kv_core::{
    View,
    v2::{self, Error, Refusal, Watching},
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    http::{Whole, reply as http_reply},
    serve::Body,
    server::Core,
};
use form::{Form, decode};
use stats::Doing;

pub(crate) use stats::Stats;
pub(crate) use tokens::is_token;

/// A poll without news ends after this; clients then ask again.
const LONGEST_POLL: Duration = Duration::from_secs(300);

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

/// Answers a request to `/v2/...`, `/new` or a token.
pub(crate) async fn answer(core: Arc<Core>, request: Whole) -> Response<Body> {
    let path = request.path.clone();
    if let Some(key) = path.strip_prefix("/v2/keys")
        && (key.is_empty() || key.starts_with('/'))
    {
        return keys(&core, key, request).await;
    }
    if is_token(&path) {
        return keys(&core, &format!("/discovery{path}"), request).await;
    }
    if path == "/v1/clusters" || path.starts_with("/v1/clusters/") {
        return tokens::swarm(&core, &request).await;
    }
    match path.strip_prefix("/v2/members") {
        Some(below) if below.is_empty() || below.starts_with('/') => {
            let mut response = members::answer(&core, below.trim_matches('/'), &request).await;
            insert(response.headers_mut(), "x-etcd-cluster-id", &format!("{:x}", core.cluster_id));
            response
        }
        _ => other(&core, &path, &request).await,
    }
}

async fn other(core: &Core, path: &str, request: &Whole) -> Response<Body> {
    match path {
        "/new" => tokens::new_token(core, request).await,
        "/v2/machines" => {
            let members = core.node.view().members().unwrap_or_default();
            let urls: Vec<String> = members.into_iter().flat_map(|member| member.client_ur_ls).collect();
            http_reply(StatusCode::OK, "text/plain; charset=utf-8", urls.join(", "))
        }
        _ if path.starts_with("/v2/stats/") => {
            stats::answer(core, path.trim_start_matches("/v2/stats/")).unwrap_or_else(no_page)
        }
        _ => no_page(),
    }
}

fn no_page() -> Response<Body> {
    http_reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")
}

fn json_reply(status: StatusCode, value: &Value) -> Response<Body> {
    http_reply(status, "application/json", format!("{value}\n"))
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        headers.insert(name, value);
    }
}

/// Why a request to the tree is not answered as asked.
struct Refused {
    refusal: Refusal,
    /// The newest index; nothing is known of it when the request itself made no sense.
    index: i64,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, index: 0 }
    }
}

/// An answer, and the index it is of.
struct Told {
    response: Response<Body>,
    index: i64,
}

async fn keys(core: &Arc<Core>, key: &str, request: Whole) -> Response<Body> {
    let path = decode(&key.replace('+', "%2B"));
    let form = Form::of(&request);
    let result = match request.method {
        Method::GET | Method::HEAD => get(core, &path, &form).await,
        Method::PUT => change(core, &path, &form, Action::Set).await,
        Method::POST => change(core, &path, &form, Action::CreateInOrder).await,
        Method::DELETE => change(core, &path, &form, Action::Delete).await,
        _ => {
            let mut response = http_reply(
                StatusCode::METHOD_NOT_ALLOWED,
                "text/plain; charset=utf-8",
                "Method Not Allowed\n",
            );
            insert(response.headers_mut(), "allow", "HEAD,GET,PUT,POST,DELETE");
            return response;
        }
    };
    if let Some(doing) = doing(&request.method, &form) {
        core.v2.count(doing, result.is_ok());
    }
    let mut response = match result {
        Ok(Told { mut response, index }) => {
            let status = core.node.status();
            let headers = response.headers_mut();
            insert(headers, "x-etcd-index", &index.to_string());
            insert(headers, "x-raft-index", &status.last_index.to_string());
            insert(headers, "x-raft-term", &status.term.to_string());
            response
        }
        Err(Refused { refusal, index }) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let mut response =
                http_reply(status, "application/json", format!("{}\n", refusal.to_json(index)));
            insert(response.headers_mut(), "x-etcd-index", &index.to_string());
            response
        }
    };
    insert(response.headers_mut(), "x-etcd-cluster-id", &format!("{:x}", core.cluster_id));
    response
}

/// What a request asks for, to be counted; waiting is counted elsewhere.
fn doing(method: &Method, form: &Form) -> Option<Doing> {
    let compares = form.get("prevValue").is_some() || form.get("prevIndex").is_some();
    Some(match *method {
        Method::GET | Method::HEAD if form.get("wait") == Some("true") => return None,
        Method::GET | Method::HEAD => Doing::Get,
        Method::POST => Doing::Create,
        Method::DELETE if compares => Doing::CompareAndDelete,
        Method::DELETE => Doing::Delete,
        _ => match form.get("prevExist") {
            Some("false") => Doing::Create,
            _ if compares => Doing::CompareAndSwap,
            Some("true") => Doing::Update,
            _ => Doing::Set,
        },
    })
}

fn refused(core: &Core, kind: ErrorKind) -> Refused {
    let code = if kind == ErrorKind::NoLeader { 301 } else { 300 };
    Refused { refusal: Refusal { code, cause: kind.text().to_owned() }, index: core.node.revision() }
}

async fn get(core: &Arc<Core>, path: &str, form: &Form) -> Result<Told, Refused> {
    let recursive = form.flag("recursive")?.unwrap_or(false);
    form.flag("sorted")?;
    let wait = form.flag("wait")?.unwrap_or(false);
    let quorum = form.flag("quorum")?.unwrap_or(false);
    let stream = form.flag("stream")?.unwrap_or(false);
    let from = form.number("waitIndex", 203)?;
    if wait {
        return watch(core, path, recursive, from, stream);
    }
    let view = core.view(!quorum).await.map_err(|kind| refused(core, kind))?;
    let index = view.revision();
    match v2::get(&view, path, recursive, now_ms()) {
        Ok(text) => {
            let response = http_reply(StatusCode::OK, "application/json", format!("{text}\n"));
            Ok(Told { response, index })
        }
        Err(Error::Refused(refusal)) => Err(Refused { refusal, index }),
        Err(Error::Failed(failure)) => {
            Err(Refused { refusal: Refusal { code: 300, cause: failure.to_string() }, index })
        }
    }
}

/// Waits for the first change of a path at or after an index, or tells all of them; old indices are answered from
/// history. The head of the answer goes out at once.
fn watch(
    core: &Arc<Core>,
    path: &str,
    recursive: bool,
    from: Option<u64>,
    stream: bool,
) -> Result<Told, Refused> {
    let view = core.node.view();
    let index = view.revision();
    let next = from.filter(|from| *from > 0).map_or(index + 1, |from| from as i64);
    if next < view.compacted() {
        let cause = format!("the requested history has been cleared [{}/{next}]", view.compacted());
        return Err(Refused { refusal: Refusal { code: 401, cause }, index });
    }
    let watching = Watching::new(path, recursive, index);
    let (sender, receiver) = mpsc::channel(16);
    let core = core.clone();
    tokio::spawn(async move {
        if let Err(error) = tell(&core, &watching, next, stream, &sender).await {
            tracing::error!(%error, "could not read history for a v2 watch");
        }
    });
    let body = StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync();
    let mut response = Response::new(body);
    insert(response.headers_mut(), "content-type", "application/json");
    Ok(Told { response, index })
}

type Piece = Result<http_body::Frame<bytes::Bytes>, Box<dyn std::error::Error + Send + Sync>>;

async fn tell(
    core: &Core,
    watching: &Watching,
    mut next: i64,
    stream: bool,
    out: &mpsc::Sender<Piece>,
) -> std::io::Result<()> {
    let _waits = core.v2.waits();
    let mut applied = core.node.applied();
    let deadline = Instant::now() + LONGEST_POLL;
    loop {
        let view: View = core.node.view();
        if next < view.compacted() {
            return Ok(());
        }
        while next <= view.revision() {
            let (changes, after) = view.changes(next, 1000)?;
            for change in &changes {
                let Some(text) = v2::watched(&view, change, watching, now_ms())? else { continue };
                let piece = http_body::Frame::data(bytes::Bytes::from(format!("{text}\n")));
                if out.send(Ok(piece)).await.is_err() || !stream {
                    return Ok(());
                }
            }
            next = after;
        }
        tokio::select! {
            moved = tokio::time::timeout_at(deadline, applied.changed()) => match moved {
                Ok(Ok(())) => {}
                _ => return Ok(()),
            },
            () = out.closed() => return Ok(()),
        }
    }
}

async fn change(core: &Arc<Core>, path: &str, form: &Form, action: Action) -> Result<Told, Refused> {
    let request = request(path, form, action)?;
    let text = match core.propose(op::Op::V2(request)).await.map_err(|kind| refused(core, kind))? {
        reply::Reply::V2(text) => text,
        _ => return Err(refused(core, ErrorKind::Corrupt)),
    };
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_i64).unwrap_or(0);
    if let Some(code) = value.get("errorCode").and_then(Value::as_u64) {
        let cause = value.get("cause").and_then(Value::as_str).unwrap_or_default().to_owned();
        let index = number(&value, "index");
        return Err(Refused { refusal: Refusal { code: code as u16, cause }, index });
    }
    let index = value.get("node").map_or(0, |node| number(node, "modifiedIndex"));
    let created = value.get("prevNode").is_none() && action != Action::Delete;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Told { response: http_reply(status, "application/json", format!("{text}\n")), index })
}

fn request(path: &str, form: &Form, action: Action) -> Result<V2Request, Refusal> {
    let prev_value = form.get("prevValue").map(str::to_owned);
    if prev_value.as_deref() == Some("") {
        return Err(Refusal { code: 201, cause: "\"prevValue\" cannot be empty".to_owned() });
    }
    let prev_exist = form.flag("prevExist")?;
    let refresh = form.flag("refresh")?.unwrap_or(false);
    let ttl_seconds = form.number("ttl", 202)?.map(|ttl| i64::try_from(ttl).unwrap_or(i64::MAX));
    let value = form.get("value").unwrap_or_default().to_owned();
    if refresh && !value.is_empty() {
        return Err(Refusal { code: 211, cause: "A value was provided on a refresh".to_owned() });
    }
    if refresh && ttl_seconds.is_none() {
        return Err(Refusal { code: 212, cause: "No TTL value set".to_owned() });
    }
    Ok(V2Request {
        action: action.into(),
        path: path.to_owned(),
        value,
        dir: form.flag("dir")?.unwrap_or(false),
        recursive: form.flag("recursive")?.unwrap_or(false),
        ttl_seconds,
        prev_exist,
        prev_value,
        prev_index: form.number("prevIndex", 203)?.unwrap_or(0),
        refresh,
    })
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
            core.v2.expired();
        }
    }
}
