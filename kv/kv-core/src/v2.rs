//! etcd's first API: a tree of directories and values, as writes and reads on the state. Answers are its JSON.
//!
//! A node is a key of [`Space::V2`] whose name is its path (see `node` for what is stored with it). So v2 shares v3's
//! revisions (they are its indices), log, snapshots and history. Expiry is proposed by the leader; the clock here is
//! the proposal's. `refusal` is what may go wrong, `events` what a watcher is told.

mod events;
mod node;
mod refusal;

use std::io;

use bytes::Bytes;
use kv_api::{
    KeyRange,
    internal::{V2Request, v2_request::Action},
};
use serde_json::{Map, Value, json};

use crate::{Failure, Space, State, View, layout::Generation};
use node::{Did, Why};

pub use events::{Watching, watched};
pub use node::Node;
pub use refusal::Refusal;

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
    let compares = request.prev_value.is_some() || request.prev_index != 0;
    match (request.action(), request.prev_exist) {
        (Action::CreateInOrder, _) => create_in_order(state, &path, request, now_ms),
        (Action::Delete, _) => delete(state, &path, request, now_ms),
        (Action::Expire, _) => expire(state, &path, now_ms),
        (Action::Set, Some(false)) => create(state, &path, request, now_ms),
        (Action::Set, Some(true)) if !compares => update(state, &path, request, now_ms),
        (Action::Set, _) if compares => compare_and_swap(state, &path, request, now_ms),
        (Action::Set, _) => set(state, &path, request, now_ms),
    }
}

fn refuse_root(path: &str) -> Result<(), Error> {
    if path == "/" { Err(Refusal::new(107, "/").into()) } else { Ok(()) }
}

fn expiry(request: &V2Request, now_ms: i64) -> i64 {
    request.ttl_seconds.map_or(0, |ttl| now_ms.saturating_add(ttl.saturating_mul(1000)))
}

fn value_of(request: &V2Request) -> Bytes {
    if request.dir { Bytes::new() } else { Bytes::from(request.value.clone().into_bytes()) }
}

fn set(state: &mut State, path: &str, request: &V2Request, now_ms: i64) -> Result<String, Error> {
    refuse_root(path)?;
    let before = match Node::find(&state.view, path) {
        Ok(found) => Some(found),
        Err(Error::Refused(missing)) if missing.code == 100 && !request.refresh => None,
        Err(error) => return Err(error),
    };
    if before.as_ref().is_some_and(|(node, _)| node.dir) {
        return Err(Refusal::new(102, path).into());
    }
    make_parents(state, path)?;
    let kept = before.as_ref().filter(|_| request.refresh).map(|(node, _)| node.value.clone());
    let new = New { dir: request.dir, value: kept.unwrap_or_else(|| value_of(request)) };
    let did = if request.refresh { Did::Refresh } else { Did::Set };
    let node = put_new(state, path, new, expiry(request, now_ms), before.as_ref().map(|(_, g)| *g), did);
    Ok(answer("set", node.to_json(now_ms), before.map(|(node, _)| node), now_ms))
}

fn create(state: &mut State, path: &str, request: &V2Request, now_ms: i64) -> Result<String, Error> {
    refuse_root(path)?;
    match Node::find(&state.view, path) {
        Ok(_) => return Err(Refusal::new(105, path).into()),
        Err(Error::Refused(missing)) if missing.code == 100 => {}
        Err(error) => return Err(error),
    }
    make_parents(state, path)?;
    let new = New { dir: request.dir, value: value_of(request) };
    let node = put_new(state, path, new, expiry(request, now_ms), None, Did::Create);
    Ok(answer("create", node.to_json(now_ms), None, now_ms))
}

fn create_in_order(state: &mut State, dir: &str, request: &V2Request, now_ms: i64) -> Result<String, Error> {
    let name = format!("{:020}", state.view.revision() + 1);
    create(state, &clean(&format!("{dir}/{name}")), request, now_ms)
}

fn update(state: &mut State, path: &str, request: &V2Request, now_ms: i64) -> Result<String, Error> {
    refuse_root(path)?;
    let (node, generation) = Node::find(&state.view, path)?;
    if node.dir && !request.value.is_empty() {
        return Err(Refusal::new(102, path).into());
    }
    let value = if request.refresh || node.dir { node.value.clone() } else { value_of(request) };
    let did = if request.refresh { Did::Refresh } else { Did::Update };
    let told = rewrite(state, &node, generation, value, expiry(request, now_ms), did);
    Ok(answer("update", told.to_json(now_ms), Some(node), now_ms))
}

fn compare_and_swap(
    state: &mut State,
    path: &str,
    request: &V2Request,
    now_ms: i64,
) -> Result<String, Error> {
    refuse_root(path)?;
    let (node, generation) = Node::find(&state.view, path)?;
    if node.dir {
        return Err(Refusal::new(102, path).into());
    }
    compare(&node, request)?;
    let value = if request.refresh { node.value.clone() } else { value_of(request) };
    let did = if request.refresh { Did::Refresh } else { Did::CompareAndSwap };
    let told = rewrite(state, &node, generation, value, expiry(request, now_ms), did);
    Ok(answer("compareAndSwap", told.to_json(now_ms), Some(node), now_ms))
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

/// Makes the directories above a node, unless one of them is a file.
fn make_parents(state: &mut State, path: &str) -> Result<(), Error> {
    for (slash, _) in path.match_indices('/').skip(1) {
        let parent = &path[..slash];
        match Node::read(&state.view, parent)? {
            Some((node, _)) if node.dir => {}
            Some(_) => return Err(Refusal::new(104, parent).into()),
            None => {
                let index = state.view.revision() + 1;
                let node = Node { path: parent.into(), created: index, modified: index, ..Node::root() };
                write(state, &node, None, Why { did: Did::Create, by_the_way: true });
            }
        }
    }
    Ok(())
}

struct New {
    dir: bool,
    value: Bytes,
}

/// Writes a node that was not there, or takes the place of one: its creation index is new.
fn put_new(
    state: &mut State,
    path: &str,
    new: New,
    expires_ms: i64,
    before: Option<Generation>,
    did: Did,
) -> Node {
    let index = state.view.revision() + 1;
    let New { dir, value } = new;
    let node = Node { path: path.to_owned(), dir, value, expires_ms, created: index, modified: index };
    let before = before.map(|before| {
        unschedule(state, path, before);
        Generation { created: index, ..before }
    });
    write(state, &node, before, Why { did, by_the_way: false });
    node
}

/// Writes a node anew; answers it as its change is told. A directory itself keeps its index.
fn rewrite(
    state: &mut State,
    node: &Node,
    generation: Generation,
    value: Bytes,
    expires_ms: i64,
    did: Did,
) -> Node {
    let index = state.view.revision() + 1;
    let told = Node { value, expires_ms, modified: index, ..node.clone() };
    let stored = Node { modified: if node.dir { node.modified } else { index }, ..told.clone() };
    unschedule(state, &node.path, generation);
    write(state, &stored, Some(generation), Why { did, by_the_way: false });
    told
}

fn write(state: &mut State, node: &Node, before: Option<Generation>, why: Why) {
    let index = state.view.revision() + 1;
    state.write(Space::V2, Bytes::from(node.path.clone()), node.encode(why, index), 0, before);
    if node.expires_ms != 0 {
        state.set_meta(&expiry_name(node.expires_ms, &node.path), Bytes::from(node.path.clone()));
    }
}

/// Forgets when a node was to expire.
fn unschedule(state: &mut State, path: &str, before: Generation) {
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
    refuse_root(path)?;
    let (node, _) = Node::find(&state.view, path)?;
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
    let did = if compares { Did::CompareAndDelete } else { Did::Delete };
    remove(state, path, did)?;
    Ok(gone(did.name(), node, state.view.revision() + 1, now_ms))
}

fn expire(state: &mut State, path: &str, now_ms: i64) -> Result<String, Error> {
    let (node, _) = Node::find(&state.view, path)?;
    if node.expires_ms == 0 || node.expires_ms > now_ms {
        return Err(Refusal::new(101, path).into());
    }
    remove(state, path, Did::Expire)?;
    Ok(gone("expire", node, state.view.revision() + 1, now_ms))
}

/// Removes a node and everything below, the node first: watchers learn of it as one change.
fn remove(state: &mut State, path: &str, did: Did) -> Result<(), Error> {
    let mut doomed = vec![Bytes::from(path.to_owned())];
    doomed.extend(below(&state.view, path)?.map(|(path, _)| path));
    for (at, path) in doomed.into_iter().enumerate() {
        if let Some(generation) = state.view.current(Space::V2, &path)? {
            unschedule(state, &String::from_utf8_lossy(&path), generation);
            let why = Why { did, by_the_way: at > 0 };
            state.delete_saying(Space::V2, path, why.deletion(), generation);
        }
    }
    Ok(())
}

pub(crate) fn gone(action: &str, before: Node, index: i64, now_ms: i64) -> String {
    let mut node = Map::new();
    node.insert("key".into(), json!(before.path));
    if before.dir {
        node.insert("dir".into(), json!(true));
    }
    node.insert("modifiedIndex".into(), json!(index));
    node.insert("createdIndex".into(), json!(before.created));
    answer(action, node, Some(before), now_ms)
}

pub(crate) fn answer(action: &str, node: Map<String, Value>, before: Option<Node>, now_ms: i64) -> String {
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
    let node = if path == "/" { Node::root() } else { Node::find(view, &path)?.0 };
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
