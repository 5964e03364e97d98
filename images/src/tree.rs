//! A directory tree in memory, from which both archives are written: sorted, owned by root, undated.

use std::collections::BTreeMap;

/// What one path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Dir,
    File(Vec<u8>),
    Link(String),
    /// A character device with its major and minor number.
    CharDevice(u32, u32),
}

/// One path's content and permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) node: Node,
    pub(crate) mode: u32,
}

/// Paths are relative, without a leading slash; parents come into being with their children.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    pub(crate) fn dir(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry { node: Node::Dir, mode });
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry { node: Node::File(content), mode });
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry { node: Node::Link(target.to_owned()), mode: 0o777 });
    }

    pub(crate) fn char_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.parents(path);
        self.entries.insert(path.to_owned(), Entry { node: Node::CharDevice(major, minor), mode });
    }

    /// In byte order of their paths, so that a parent always comes before its children.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    fn parents(&mut self, path: &str) {
        for (index, _) in path.match_indices('/') {
            self.entries.entry(path[..index].to_owned()).or_insert(Entry { node: Node::Dir, mode: 0o755 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_with_their_children_and_before_them() {
        let mut tree = Tree::default();
        tree.file("usr/bin/x", 0o755, b"x".to_vec());
        let paths: Vec<_> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/bin/x"]);
    }
}
