//! What watchers of the tree are told: one event for each change that was asked for.

use std::io;

use super::{
    Node, answer, clean, gone,
    node::{Did, Why},
};
use crate::{Change, Space, View};

/// What a watcher asked for.
#[derive(Debug, Clone)]
pub struct Watching {
    path: String,
    recursive: bool,
    /// Changes after this one happen while it waits; those before are history.
    since: i64,
}

impl Watching {
    /// A watch of a path that begins when the newest revision is `since`.
    #[must_use]
    pub fn new(path: &str, recursive: bool, since: i64) -> Self {
        Self { path: clean(path), recursive, since }
    }

    fn concerns(&self, key: &str, change: &Change) -> bool {
        let under = |path: &str, dir: &str| {
            let below = if dir == "/" { path.strip_prefix('/') } else { path.strip_prefix(dir) };
            below.filter(|rest| dir == "/" || rest.starts_with('/')).map(str::to_owned)
        };
        if key == self.path {
            return true;
        }
        // A directory that goes takes the watched node along.
        if change.is_deletion() && under(&self.path, key).is_some() {
            return true;
        }
        let hidden = |rest: &str| rest.split('/').any(|part| part.starts_with('_'));
        // Hidden nodes show in history only, as in etcd.
        self.recursive
            && under(key, &self.path).is_some_and(|rest| !hidden(&rest) || change.revision() <= self.since)
    }
}

/// What a watcher is told of a change, if it concerns it.
///
/// # Errors
/// When the storage fails.
pub fn watched(view: &View, change: &Change, watching: &Watching, now_ms: i64) -> io::Result<Option<String>> {
    let why = Why::of(change.recorded());
    if change.space != Space::V2 || why.by_the_way || why.did == Did::Refresh {
        return Ok(None);
    }
    let key = String::from_utf8_lossy(change.key()).into_owned();
    if !watching.concerns(&key, change) {
        return Ok(None);
    }
    let before = view
        .before(change)?
        .map(|before| Node::decode(&key, &before.value, before.create_revision, before.mod_revision));
    if change.is_deletion() {
        let Some(before) = before else { return Ok(None) };
        return Ok(Some(gone(why.did.name(), before, change.revision(), now_ms)));
    }
    let pair = change.event.kv.clone().unwrap_or_default();
    let node = Node::decode(&key, &pair.value, pair.create_revision, pair.mod_revision);
    let node = Node { modified: pair.mod_revision, ..node };
    Ok(Some(answer(why.did.name(), node.to_json(now_ms), before, now_ms)))
}
