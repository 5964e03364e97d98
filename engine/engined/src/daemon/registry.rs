//! The containers there are, found by id, by the start of an id, or by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::container::Container;
use super::error::{Refusal, Result};

/// All containers and the names that are taken.
#[derive(Default)]
pub(crate) struct Containers {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_id: BTreeMap<String, Arc<Container>>,
    /// Name → id; reserved from before the container is there until it is gone.
    names: HashMap<String, String>,
}

impl Containers {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics holding it")
    }

    /// Docker's rules: a full id, then a name, then the unambiguous start of an id.
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Container>> {
        if text.is_empty() {
            return Err(Refusal::bad("invalid name or ID supplied: \"\""));
        }
        let inner = self.inner();
        let name = text.strip_prefix('/').unwrap_or(text);
        let by_name = || inner.names.get(name).and_then(|id| inner.by_id.get(id));
        if let Some(found) = inner.by_id.get(text).or_else(by_name) {
            return Ok(found.clone());
        }
        let mut starts = inner.by_id.range(text.to_owned()..).take_while(|(id, _)| id.starts_with(text));
        match (starts.next(), starts.next()) {
            (Some((_, found)), None) => Ok(found.clone()),
            (Some(_), Some(_)) => {
                Err(Refusal::missing(format!("multiple IDs found with provided prefix: {text}")))
            }
            _ => Err(Refusal::missing(format!("No such container: {text}"))),
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.inner().by_id.values().cloned().collect()
    }

    /// Takes a name for a container that is about to be.
    pub(crate) fn reserve(&self, name: &str, id: &str) -> Result<()> {
        let mut inner = self.inner();
        match inner.names.get(name) {
            Some(other) => Err(Refusal::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{other}\". You have to remove (or rename) that container to be able to reuse that name."
            ))),
            None => {
                inner.names.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        }
    }

    pub(crate) fn release(&self, name: &str) {
        self.inner().names.remove(name);
    }

    pub(crate) fn insert(&self, container: Arc<Container>) {
        self.inner().by_id.insert(container.id.clone(), container);
    }

    pub(crate) fn remove(&self, container: &Container) {
        let name = container.name();
        let mut inner = self.inner();
        inner.by_id.remove(&container.id);
        if inner.names.get(&name).is_some_and(|id| *id == container.id) {
            inner.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::container::Record;

    fn add(all: &Containers, id: &str, name: &str) {
        all.reserve(name, id).unwrap();
        let record = Record { id: id.into(), name: name.into(), ..Record::default() };
        all.insert(Arc::new(Container::new("/nonexistent".into(), record)));
    }

    #[test]
    fn finding() {
        let all = Containers::default();
        add(&all, "aabb", "web");
        add(&all, "aacc", "db");
        assert_eq!(all.find("/web").unwrap().id, "aabb");
        assert_eq!(all.find("aac").unwrap().id, "aacc");
        assert!(all.find("aa").err().unwrap().message.starts_with("multiple IDs"));
        assert_eq!(all.find("").err().unwrap().message, "invalid name or ID supplied: \"\"");
        assert!(
            all.reserve("web", "x")
                .err()
                .unwrap()
                .message
                .contains("\"/web\" is already in use by container \"aabb\"")
        );
        all.remove(&all.find("web").unwrap());
        assert!(all.find("web").is_err() && all.reserve("web", "x").is_ok());
    }
}
