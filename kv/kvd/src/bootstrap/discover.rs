//! Founding a cluster with members found through a discovery service (etcd's protocol on v2 keys) or a file.
//!
//! Over HTTP: read how many members there will be, register, then watch until they are all there. The first so many
//! by creation are the cluster; who comes later is told that it is full.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{BootstrapError, fetch};

const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
struct Answer {
    node: Option<Node>,
    #[serde(rename = "errorCode")]
    error_code: Option<u32>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Node {
    key: Option<String>,
    value: Option<String>,
    #[serde(default)]
    nodes: Vec<Node>,
    #[serde(rename = "createdIndex", default)]
    created: u64,
}

/// The founding members as `NAME=URL,…`; `own` is this member's part of it.
pub(super) async fn cluster(url: &str, own: &str, peers: &[String]) -> Result<String, BootstrapError> {
    let failed = |reason: String| BootstrapError::Discovery { url: url.to_owned(), reason };
    if let Some(path) = url.strip_prefix("file://") {
        return std::fs::read_to_string(path)
            .map(|text| {
                text.lines()
                    .map(str::trim)
                    .filter(|l| !l.is_empty() && !l.starts_with('#'))
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .map_err(|error| failed(error.to_string()));
    }
    let base = match url.strip_prefix("token://") {
        Some(rest) => format!("http://{rest}"),
        None => url.to_owned(),
    };
    let base = base.trim_end_matches('/').to_owned();
    let size = size(&base).await.map_err(failed)?;
    let id = format!("{:x}", super::member_id(peers, &base, None));
    register(&base, &id, own, size).await.map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let members = members(&base).await.map_err(failed)?;
        if members.len() >= size {
            let chosen = &members[..size];
            if !chosen.iter().any(|node| node.key.as_deref().is_some_and(|key| key.ends_with(&id))) {
                return Err(failed("cluster is full".into()));
            }
            let values = chosen.iter().filter_map(|node| node.value.clone());
            return Ok(values.collect::<Vec<_>>().join(","));
        }
        tracing::info!(
            needed = size,
            found = members.len(),
            "waiting for other members at the discovery service"
        );
        if Instant::now() > deadline {
            return Err(failed(format!("only {} of {size} members came", members.len())));
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn get(url: &str) -> Result<Answer, String> {
    let mut last = String::new();
    for attempt in 0..8 {
        match fetch(http::Method::GET, url, None, None, Duration::from_secs(5)).await {
            Ok((_, _, text)) => {
                return serde_json::from_str(&text).map_err(|_| format!("not an answer: {text}"));
            }
            Err(error) => last = error,
        }
        sleep(Duration::from_millis(100 << attempt.min(4))).await;
    }
    Err(last)
}

async fn size(base: &str) -> Result<usize, String> {
    let answer = get(&format!("{base}/_config/size")).await?;
    if answer.error_code == Some(100) {
        return Err("size key not found".into());
    }
    let value = answer.node.and_then(|node| node.value).unwrap_or_default();
    value
        .parse()
        .ok()
        .filter(|size| *size > 0)
        .ok_or_else(|| format!("size `{value}` is not a number of members"))
}

async fn members(base: &str) -> Result<Vec<Node>, String> {
    let answer = get(base).await?;
    let mut nodes = answer.node.map(|node| node.nodes).unwrap_or_default();
    nodes.retain(|node| {
        node.key.as_deref().is_some_and(|key| !key.rsplit('/').next().unwrap_or("").starts_with('_'))
    });
    nodes.sort_by_key(|node| node.created);
    Ok(nodes)
}

async fn register(base: &str, id: &str, own: &str, size: usize) -> Result<(), String> {
    let there = members(base).await?;
    if there.iter().any(|node| node.key.as_deref().is_some_and(|key| key.ends_with(id))) {
        return Ok(());
    }
    if there.len() >= size {
        return Err("cluster is full".into());
    }
    let body = format!("value={}", escape(own));
    let url = format!("{base}/{id}?prevExist=false");
    let (status, _, text) = fetch(http::Method::PUT, &url, Some(body), None, Duration::from_secs(5)).await?;
    let answer: Answer = serde_json::from_str(&text).map_err(|_| format!("not an answer: {text}"))?;
    match (status, answer.error_code) {
        (200 | 201, None) | (_, Some(105)) => Ok(()),
        _ => Err(answer.message.unwrap_or(text)),
    }
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
