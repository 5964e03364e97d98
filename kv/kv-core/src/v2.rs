//! etcd's first API: a tree of directories and values, as writes and reads on the state. Answers are its JSON.
//!
//! A node is a key of [`Space::V2`] whose name is its path; the value starts with a flag byte (1: directory) and
//! eight bytes of expiry (milliseconds since 1970, 0: none). So v2 shares v3's revisions (they are its indices),
//! log, snapshots and history. Expiry is proposed by the leader; the clock here is the proposal's.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use kv_api::{
    KeyRange,
    internal::{V2Request, v2_request::Action},
};
use serde_json::{Map, Value, json};

use crate::{Change, Failure, Space, State, View, layout::Generation};

/// A refusal, in v2's own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub cause: String,
}

impl Refusal {
    fn new(code: u16, cause: impl Into<String>) -> Self {
        Self { code, cause: cause.into() }
    }

    /// etcd's text for the code.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self.code {
            100 => "Key not found",
            101 => "Compare failed",
            102 => "Not a file",
            104 => "Not a directory",
            105 => "Key already exists",
            107 => "Root is read only",
            108 => "Directory not empty",
            201 => "PrevValue is Required in POST form",
            202 => "The given TTL in POST form is not a number",
            203 => "The given index in POST form is not a number",
            209 => "Invalid field",
            210 => "Invalid POST form",
            300 => "Raft Internal Error",
            301 => "During Leader Election",
            400 => "watcher is cleared due to etcd recovery",
            401 => "The event in requested index is outdated and cleared",
            _ => "Unknown error",
        }
    }

    /// The HTTP status that goes with the code.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code {
            100 => 404,
            101 | 105 => 412,
            102 | 104 | 107 | 108 => 403,
            300 | 301 => 500,
            _ => 400,
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self, index: i64) -> String {
        json!({"errorCode": self.code, "message": self.message(), "cause": self.cause, "index": index})
            .to_string()
    }
}

/// Why a change of the tree was not made.
#[derive(Debug)]
pub enum Error {
    Refused(Refusal),
    Failed(Failure),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A node of the tree.
#[derive(Debug, Clone)]
pub struct Node {
    pub path: String,
    pub dir: bool,
    pub value: Bytes,
    /// Milliseconds since 1970; 0: lives forever.
    pub expires_ms: i64,
    pub created: i64,
    pub modified: i64,
}

impl Node {
    fn read(view: &View, path: &str) -> io::Result<Option<(Self, Generation)>> {
        let Some(generation) = view.current(Space::V2, path.as_bytes())? else { return Ok(None) };
        let record = view.record(generation.at)?;
        Ok(Some((Self::decode(path, &record.value, generation.created, generation.at.main), generation)))
    }

    fn decode(path: &str, value: &Bytes, created: i64, modified: i64) -> Self {
        let dir = value.first() == Some(&1);
        let expires_ms = value.get(1..9).and_then(|b| b.try_into().ok()).map_or(0, i64::from_be_bytes);
        let value = value.slice(value.len().min(9)..);
        Self { path: path.to_owned(), dir, value, expires_ms, created, modified }
    }

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(9 + self.value.len());
        out.put_u8(u8::from(self.dir));
        out.put_i64(self.expires_ms);
        out.put_slice(&self.value);
        out.freeze()
    }

    fn root() -> Self {
        let path = "/".to_owned();
        Self { path, dir: true, value: Bytes::new(), expires_ms: 0, created: 0, modified: 0 }
    }

    /// The node as v2's JSON, without children.
    #[must_use]
    pub fn to_json(&self, now_ms: i64) -> Map<String, Value> {
        let mut out = Map::new();
        if self.path != "/" {
            out.insert("key".into(), json!(self.path));
        }
        if self.dir {
            out.insert("dir".into(), json!(true));
        } else {
            out.insert("value".into(), json!(String::from_utf8_lossy(&self.value)));
        }
        if self.expires_ms != 0 {
            out.insert("expiration".into(), json!(rfc3339(self.expires_ms)));
            out.insert("ttl".into(), json!((self.expires_ms - now_ms).div_euclid(1000).max(0) + 1));
        }
        if self.path != "/" {
            out.insert("modifiedIndex".into(), json!(self.modified));
            out.insert("createdIndex".into(), json!(self.created));
        }
        out
    }
}

fn rfc3339(ms: i64) -> String {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Brings a path to its one form: a leading slash, no empty, `.` or `..` parts, no trailing slash.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Makes a change; answers the JSON of it.
///
/// # Errors
/// When the tree refuses, or the storage fails.
pub fn apply(state: &mut State, request: &V2Request, now_ms: i64) -> Result<String, Error> {
    let path = clean(&request.path);
    match request.action() {
        Action::Set => set(state, &path, request, now_ms),
        Action::CreateInOrder => create_in_order(state, &path, request, now_ms),
        Action::Delete => delete(state, &path, request, now_ms),
        Action::Expire => expire(state, &path, now_ms),
    }
}

fn set(state: &mut State, path: &str, request: &V2Request, now_ms: i64) -> Result<String, Error> {
    if path == "/" {
        return Err(Refusal::new(107, "/").into());
    }
    let before = Node::read(&state.view, path)?;
    let compares = request.prev_value.is_some() || request.prev_index != 0;
    match (&before, request.prev_exist) {
        (Some(_), Some(false)) => return Err(Refusal::new(105, path).into()),
        (None, _) if request.prev_exist == Some(true) || compares => {
            return Err(Refusal::new(100, path).into());
        }
        _ => {}
    }
    if let Some((node, _)) = &before {
        if node.dir && (!request.dir || compares || request.prev_exist.is_none()) {
            return Err(Refusal::new(102, path).into());
        }
        compare(node, request)?;
    }
    let action = match (compares, request.prev_exist) {
        (true, _) => "compareAndSwap",
        (_, Some(true)) => "update",
        (_, Some(false)) => "create",
        _ => "set",
    };
    let mut value = Bytes::from(request.value.clone().into_bytes());
    let mut expires_ms = request.ttl_seconds.filter(|ttl| *ttl > 0).map_or(0, |ttl| now_ms + ttl * 1000);
    if let Some((node, _)) = &before {
        if request.refresh || (action == "update" && node.dir) {
            value = node.value.clone();
        }
        if request.refresh && request.ttl_seconds.is_none() {
            expires_ms = node.expires_ms;
        }
    }
    make_parents(state, path)?;
    let keeps_index = action == "update" || action == "compareAndSwap";
    let node =
        put(state, path, request.dir, value, expires_ms, before.as_ref().map(|(_, g)| *g), keeps_index);
    Ok(answer(action, node.to_json(now_ms), before.map(|(node, _)| node), now_ms))
}

fn compare(node: &Node, request: &V2Request) -> Result<(), Refusal> {
    let value = request.prev_value.as_ref().is_none_or(|value| value.as_bytes() == node.value);
    let index = request.prev_index == 0 || request.prev_index == node.modified as u64;
    let value_text = || {
        let wanted = request.prev_value.clone().unwrap_or_default();
        format!("[{wanted} != {}]", String::from_utf8_lossy(&node.value))
    };
    let index_text = || format!("[{} != {}]", request.prev_index, node.modified);
    match (value, index) {
        (true, true) => Ok(()),
        (false, true) => Err(Refusal::new(101, value_text())),
        (true, false) => Err(Refusal::new(101, index_text())),
        (false, false) => Err(Refusal::new(101, format!("{} {}", value_text(), index_text()))),
    }
}

fn create_in_order(state: &mut State, dir: &str, request: &V2Request, now_ms: i64) -> Result<String, Error> {
    let name = format!("{:020}", state.view.revision() + 1);
    let path = clean(&format!("{dir}/{name}"));
    make_parents(state, &path)?;
    let expires_ms = request.ttl_seconds.filter(|ttl| *ttl > 0).map_or(0, |ttl| now_ms + ttl * 1000);
    let value = Bytes::from(request.value.clone().into_bytes());
    let node = put(state, &path, request.dir, value, expires_ms, None, false);
    Ok(answer("create", node.to_json(now_ms), None, now_ms))
}

/// Makes the directories above a node, unless one of them is a file.
fn make_parents(state: &mut State, path: &str) -> Result<(), Error> {
    for (slash, _) in path.match_indices('/').skip(1) {
        let parent = &path[..slash];
        match Node::read(&state.view, parent)? {
            Some((node, _)) if node.dir => {}
            Some(_) => return Err(Refusal::new(104, parent).into()),
            None => {
                put(state, parent, true, Bytes::new(), 0, None, false);
            }
        }
    }
    Ok(())
}

fn put(
    state: &mut State,
    path: &str,
    dir: bool,
    value: Bytes,
    expires_ms: i64,
    before: Option<Generation>,
    keeps_index: bool,
) -> Node {
    let index = state.view.revision() + 1;
    // A plain set makes a new node: its creation index moves.
    let before_kept = before.map(|g| if keeps_index { g } else { Generation { created: index, ..g } });
    let created = before_kept.map_or(index, |g| g.created);
    let node = Node { path: path.to_owned(), dir, value, expires_ms, created, modified: index };
    if let Some(before) = before {
        schedule(state, path, before, 0);
    }
    state.write(Space::V2, Bytes::from(path.to_owned()), node.encode(), 0, before_kept);
    if expires_ms != 0 {
        state.set_meta(&expiry_name(expires_ms, path), Bytes::from(path.to_owned()));
    }
    node
}

/// Forgets when a node was to expire.
fn schedule(state: &mut State, path: &str, before: Generation, _: i64) {
    if let Ok(record) = state.view.record(before.at) {
        let node = Node::decode(path, &record.value, 0, 0);
        if node.expires_ms != 0 {
            state.unset(crate::layout::meta(&expiry_name(node.expires_ms, path)));
        }
    }
}

fn expiry_name(ms: i64, path: &str) -> String {
    format!("{EXPIRY}{ms:016x}{path}")
}

const EXPIRY: &str = "v2-expiry/";

/// The first node due at `now_ms`, for the leader to propose its expiry.
///
/// # Errors
/// When the storage fails.
pub fn due(view: &View, now_ms: i64) -> io::Result<Option<String>> {
    let start = crate::layout::meta(EXPIRY);
    let end = crate::layout::meta(&format!("{EXPIRY}{now_ms:016x}"));
    let first = view.scan(&start, &end)?.next().transpose()?;
    Ok(first.map(|(_, path)| String::from_utf8_lossy(&path).into_owned()))
}

fn delete(state: &mut State, path: &str, request: &V2Request, now_ms: i64) -> Result<String, Error> {
    if path == "/" {
        return Err(Refusal::new(107, "/").into());
    }
    let Some((node, _)) = Node::read(&state.view, path)? else { return Err(Refusal::new(100, path).into()) };
    let compares = request.prev_value.is_some() || request.prev_index != 0;
    if node.dir {
        if !request.dir && !request.recursive || compares {
            return Err(Refusal::new(102, path).into());
        }
        if !request.recursive && below(&state.view, path)?.next().is_some() {
            return Err(Refusal::new(108, path).into());
        }
    }
    compare(&node, request)?;
    remove(state, path)?;
    let action = if compares { "compareAndDelete" } else { "delete" };
    Ok(gone(action, node, state.view.revision() + 1, now_ms))
}

fn expire(state: &mut State, path: &str, now_ms: i64) -> Result<String, Error> {
    let Some((node, _)) = Node::read(&state.view, path)? else { return Err(Refusal::new(100, path).into()) };
    if node.expires_ms == 0 || node.expires_ms > now_ms {
        return Err(Refusal::new(101, path).into());
    }
    remove(state, path)?;
    Ok(gone("expire", node, state.view.revision() + 1, now_ms))
}

/// Removes a node and everything below, the node first: watchers of it learn of it as one change.
fn remove(state: &mut State, path: &str) -> Result<(), Error> {
    let mut doomed = vec![Bytes::from(path.to_owned())];
    doomed.extend(below(&state.view, path)?.map(|(path, _)| path));
    for path in doomed {
        if let Some(generation) = state.view.current(Space::V2, &path)? {
            schedule(state, &String::from_utf8_lossy(&path), generation, 0);
            state.delete(Space::V2, path, generation);
        }
    }
    Ok(())
}

fn gone(action: &str, before: Node, index: i64, now_ms: i64) -> String {
    let mut node = Map::new();
    node.insert("key".into(), json!(before.path));
    if before.dir {
        node.insert("dir".into(), json!(true));
    }
    node.insert("modifiedIndex".into(), json!(index));
    node.insert("createdIndex".into(), json!(before.created));
    answer(action, node, Some(before), now_ms)
}

fn answer(action: &str, node: Map<String, Value>, before: Option<Node>, now_ms: i64) -> String {
    let mut out = Map::new();
    out.insert("action".into(), json!(action));
    out.insert("node".into(), Value::Object(node));
    if let Some(before) = before {
        out.insert("prevNode".into(), Value::Object(before.to_json(now_ms)));
    }
    Value::Object(out).to_string()
}

fn below(view: &View, path: &str) -> io::Result<impl Iterator<Item = (Bytes, Generation)> + use<>> {
    let prefix = Bytes::from(if path == "/" { path.to_owned() } else { format!("{path}/") });
    let keys = KeyRange::new(&prefix, &kv_api::prefix_end(&prefix));
    let mut found = Vec::new();
    view.each_generation(Space::V2, &keys, i64::MAX, &mut |key, generation| {
        found.push((key, generation));
        Ok(())
    })?;
    Ok(found.into_iter())
}

/// Reads a node; a directory with its children (`recursive`: with all below). Hidden ones (`_name`) are left out
/// unless asked for by name. Children come sorted.
///
/// # Errors
/// When there is no such node, or the storage fails.
pub fn get(view: &View, path: &str, recursive: bool, now_ms: i64) -> Result<String, Error> {
    let path = clean(path);
    let node = if path == "/" {
        Node::root()
    } else {
        Node::read(view, &path)?.ok_or_else(|| Refusal::new(100, path.clone()))?.0
    };
    let mut out = node.to_json(now_ms);
    if node.dir {
        let mut children = Vec::new();
        for (path, generation) in below(view, &path)? {
            let record = view.record(generation.at)?;
            let path = String::from_utf8_lossy(&path).into_owned();
            children.push(Node::decode(&path, &record.value, generation.created, generation.at.main));
        }
        let nodes = listing(&path, &children, recursive, now_ms);
        if !nodes.is_empty() {
            out.insert("nodes".into(), Value::Array(nodes));
        }
    }
    Ok(answer("get", out, None, now_ms))
}

fn listing(dir: &str, all: &[Node], recursive: bool, now_ms: i64) -> Vec<Value> {
    let prefix = if dir == "/" { dir.to_owned() } else { format!("{dir}/") };
    let direct = |node: &&Node| {
        node.path.strip_prefix(&prefix).is_some_and(|name| !name.contains('/') && !name.starts_with('_'))
    };
    let mut nodes = Vec::new();
    for node in all.iter().filter(direct) {
        let mut out = node.to_json(now_ms);
        if node.dir && recursive {
            let below = listing(&node.path, all, true, now_ms);
            if !below.is_empty() {
                out.insert("nodes".into(), Value::Array(below));
            }
        }
        nodes.push(Value::Object(out));
    }
    nodes
}

/// What a v2 watcher of `path` is told of a change, if it concerns it. The action of a past change is told as `set`,
/// `create` or `delete`: the log does not keep more.
///
/// # Errors
/// When the storage fails.
pub fn watched(
    view: &View,
    change: &Change,
    path: &str,
    recursive: bool,
    now_ms: i64,
) -> io::Result<Option<String>> {
    if change.space != Space::V2 {
        return Ok(None);
    }
    let key = String::from_utf8_lossy(change.key()).into_owned();
    let path = clean(path);
    let prefix = if path == "/" { path.clone() } else { format!("{path}/") };
    let under = key.strip_prefix(&prefix).filter(|rest| !rest.split('/').any(|part| part.starts_with('_')));
    if key != path && !(recursive && under.is_some()) {
        return Ok(None);
    }
    let pair = change.event.kv.clone().unwrap_or_default();
    let before = view
        .before(change)?
        .map(|before| Node::decode(&key, &before.value, before.create_revision, before.mod_revision));
    if change.is_deletion() {
        let Some(before) = before else { return Ok(None) };
        let expired = before.expires_ms != 0 && before.expires_ms <= now_ms;
        return Ok(Some(gone(if expired { "expire" } else { "delete" }, before, change.revision(), now_ms)));
    }
    let node = Node::decode(&key, &pair.value, pair.create_revision, pair.mod_revision);
    let action = match &before {
        None => "create",
        Some(_) if pair.create_revision != pair.mod_revision => "update",
        Some(_) => "set",
    };
    // A directory made on the way to another node is no event of its own.
    if node.dir && before.is_none() && key != path && node.expires_ms == 0 && !recursive {
        return Ok(None);
    }
    Ok(Some(answer(action, node.to_json(now_ms), before, now_ms)))
}
