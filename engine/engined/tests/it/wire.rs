//! Requests as they go over the socket, for a transcript of the API itself: clients keep mistakes from the
//! engine that a program with a socket can make.
//!
//! A line is `[shape ]METHOD PATH [@CONTENT-TYPE] [BODY]`; a path without a version is one of API 1.41. The
//! outcome is the status, the content type in brackets, and the body, JSON with its keys in order. After
//! `shape`, values give way to their types.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::engine::Engine;
use crate::normal::normalise;

/// Sends a line's request and tells what came back.
pub(crate) fn perform(engine: &Engine, line: &str) -> String {
    let (line, shaped) = line.strip_prefix("shape ").map_or((line, false), |line| (line, true));
    let mut words = line.splitn(3, ' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut body = words.next();
    let mut content_type = Some("application/json");
    if let Some(typed) = body.and_then(|b| b.strip_prefix('@')) {
        let (name, rest) = typed.split_once(' ').map_or((typed, None), |(name, rest)| (name, Some(rest)));
        content_type = Some(name).filter(|name| *name != "none");
        body = rest;
    }
    let versioned = path.starts_with("/v1.") || path.starts_with("//");
    let path = if versioned { path.to_owned() } else { format!("/v1.41{path}") };
    let answer = match exchange(engine, method, &path, content_type.filter(|_| body.is_some()), body) {
        Ok(answer) => answer,
        Err(error) => return format!("no answer: {error}"),
    };
    let mut text = format!("{} [{}]", answer.status, answer.content_type);
    if !answer.location.is_empty() {
        let _ = write!(text, " to {}", answer.location);
    }
    for part in answer.body.lines().filter(|part| !part.trim().is_empty()) {
        let shown = match serde_json::from_str::<Value>(part) {
            Ok(value) if shaped => shape(&value).to_string(),
            Ok(value) => value.to_string(),
            Err(_) => part.trim_end().to_owned(),
        };
        let _ = write!(text, "\n{shown}");
    }
    normalise(&text, &engine.dir.path().display().to_string()) + "\n"
}

struct Answer {
    status: String,
    content_type: String,
    location: String,
    body: String,
}

fn exchange(
    engine: &Engine,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: Option<&str>,
) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(engine.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n");
    if let Some(content_type) = content_type {
        let _ = write!(request, "Content-Type: {content_type}\r\n");
    }
    let body = body.unwrap_or_default();
    let _ = write!(request, "Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split_once(' ')).map_or("", |(_, status)| status);
    let fields: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let field = |wanted: &str| {
        fields
            .iter()
            .find(|(name, _)| name == wanted)
            .map_or_else(String::new, |(_, value)| (*value).to_owned())
    };
    let chunked = field("transfer-encoding") == "chunked";
    Ok(Answer {
        status: status.to_owned(),
        content_type: field("content-type"),
        location: field("location"),
        body: if chunked { joined(rest) } else { rest.to_owned() },
    })
}

/// The chunks of a body, put together.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(piece) = rest.get(..size).filter(|_| size > 0) else { break };
        body.push_str(piece);
        chunks = rest.get(size..).unwrap_or_default().trim_start_matches("\r\n");
    }
    body
}

/// What is there, without what it says: null, empty and absent stay apart.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) if !map.is_empty() && map.keys().all(|key| key.len() == 64) => {
            let first = map.values().next().map_or(Value::Null, shape);
            Value::Object(Map::from_iter([("ID".to_owned(), first)]))
        }
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Value::Array(items) => items.first().map(shape).into_iter().collect(),
        Value::String(text) if text.is_empty() => "".into(),
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        Value::Bool(_) => "bool".into(),
        Value::Null => Value::Null,
    }
}

#[test]
fn chunks_and_shapes() {
    assert_eq!(joined("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "abcde");
    let value = serde_json::json!({"a": [1, 2], "b": "", "c": null, "d": {"e": true}, "f": []});
    assert_eq!(shape(&value).to_string(), r#"{"a":["number"],"b":"","c":null,"d":{"e":"bool"},"f":[]}"#);
}
