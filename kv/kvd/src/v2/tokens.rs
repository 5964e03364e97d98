//! Services for those that look for each other: etcd's discovery (`/new?size=`) and swarm's tokens, both on v2 keys.

use http::{Method, Response, StatusCode};
use kv_api::internal::{V2Request, op, v2_request::Action};
use kv_core::v2;
use serde_json::{Value, json};

use super::{form::Form, json_reply, now_ms};
use crate::{
    http::{Whole, reply as http_reply},
    serve::Body,
    server::Core,
};

/// A discovery token is of this many hex digits.
const TOKEN_DIGITS: usize = 32;
/// Tokens end by themselves.
const TOKEN_TTL: i64 = 7 * 24 * 3600;

/// Whether a path is a discovery token's, as the URL that `/new` answers.
pub(crate) fn is_token(path: &str) -> bool {
    let token = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    token.len() == TOKEN_DIGITS && token.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Makes a discovery token for a cluster of `size` members and answers its URL.
pub(super) async fn new_token(core: &Core, request: &Whole) -> Response<Body> {
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
pub(super) async fn swarm(core: &Core, request: &Whole) -> Response<Body> {
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
