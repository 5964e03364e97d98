//! Members of the cluster over the first API. It changes the same table as v3's Cluster service, by its rules.

use http::{Method, Response, StatusCode};
use kv_api::etcdserverpb::{
    Member, MemberAddRequest, MemberRemoveRequest, MemberUpdateRequest, cluster_server::Cluster as _,
};
use serde_json::{Value, json};
use tonic::{Code, Request, Status};

use super::json_reply;
use crate::{
    grpc::cluster::Members,
    http::{Whole, reply as http_reply},
    serve::Body,
    server::Core,
};

pub(super) fn member(member: &Member) -> Value {
    let id = format!("{:x}", member.id);
    json!({"id": id, "name": member.name, "peerURLs": member.peer_ur_ls, "clientURLs": member.client_ur_ls})
}

/// Answers a request to `/v2/members` and below.
pub(super) async fn answer(core: &std::sync::Arc<Core>, below: &str, request: &Whole) -> Response<Body> {
    let listed = || core.node.view().members().unwrap_or_default();
    match (&request.method, below) {
        (&Method::GET, "") => {
            let listed: Vec<Value> = listed().iter().map(member).collect();
            json_reply(StatusCode::OK, &json!({"members": listed}))
        }
        (&Method::GET, "leader") => {
            let leader = core.node.leader().unwrap_or(0);
            match core.node.view().member(leader).ok().flatten() {
                Some(leader) => json_reply(StatusCode::OK, &member(&leader)),
                None => refuse(StatusCode::SERVICE_UNAVAILABLE, "During election"),
            }
        }
        (&Method::POST, "") => match peer_urls(request) {
            Ok(peer_ur_ls) => add(core, peer_ur_ls).await,
            Err((status, message)) => refuse(status, &message),
        },
        (&Method::DELETE, id) if !id.is_empty() => remove(core, id).await,
        (&Method::PUT, id) if !id.is_empty() => match peer_urls(request) {
            Ok(peer_ur_ls) => update(core, id, peer_ur_ls).await,
            Err((status, message)) => refuse(status, &message),
        },
        (&Method::GET, _) => refuse(StatusCode::NOT_FOUND, "Not found"),
        _ => http_reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "Method Not Allowed\n"),
    }
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    http_reply(status, "application/json", json!({"message": message}).to_string())
}

fn no_such(id: &str) -> Response<Body> {
    refuse(StatusCode::NOT_FOUND, &format!("No such member: {id}"))
}

fn peer_urls(request: &Whole) -> Result<Vec<String>, (StatusCode, String)> {
    let kind =
        request.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if kind != "application/json" {
        let message = format!("Bad Content-Type {kind}, accept application/json");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let body: Value = serde_json::from_str(&request.body).map_err(|error| bad(error.to_string()))?;
    let urls: Vec<String> = body
        .get("peerURLs")
        .and_then(Value::as_array)
        .map(|urls| urls.iter().filter_map(|url| url.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    if urls.is_empty() {
        return Err(bad("no valid URLs given".to_owned()));
    }
    for url in &urls {
        crate::config::check_url(url).map_err(bad)?;
    }
    Ok(urls)
}

async fn add(core: &std::sync::Arc<Core>, peer_ur_ls: Vec<String>) -> Response<Body> {
    let request = MemberAddRequest { peer_ur_ls, is_learner: false };
    match Members(core.clone()).member_add(Request::new(request)).await {
        Ok(added) => {
            let added = added.into_inner().member.unwrap_or_default();
            json_reply(StatusCode::CREATED, &member(&added))
        }
        Err(status) => failed(&status),
    }
}

async fn remove(core: &std::sync::Arc<Core>, id: &str) -> Response<Body> {
    let Ok(number) = u64::from_str_radix(id, 16) else { return no_such(id) };
    if core.node.view().was_removed(number).unwrap_or(false) {
        return refuse(StatusCode::GONE, &format!("Member permanently removed: {id}"));
    }
    match Members(core.clone()).member_remove(Request::new(MemberRemoveRequest { id: number })).await {
        Ok(_) => nothing(),
        Err(status) if status.code() == Code::NotFound => no_such(id),
        Err(status) => failed(&status),
    }
}

async fn update(core: &std::sync::Arc<Core>, id: &str, peer_ur_ls: Vec<String>) -> Response<Body> {
    let Ok(number) = u64::from_str_radix(id, 16) else { return no_such(id) };
    let request = MemberUpdateRequest { id: number, peer_ur_ls };
    match Members(core.clone()).member_update(Request::new(request)).await {
        Ok(_) => nothing(),
        Err(status) if status.code() == Code::NotFound => no_such(id),
        Err(status) => failed(&status),
    }
}

fn nothing() -> Response<Body> {
    http_reply(StatusCode::NO_CONTENT, "application/json", "")
}

fn failed(status: &Status) -> Response<Body> {
    let kind = match status.code() {
        Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refuse(kind, status.message())
}
