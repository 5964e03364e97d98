//! Files, directories and links of a config, written shallow paths first, hard links last.

use std::io;

use hostos_config::{Directory, File, Link, Owner, Storage};

use crate::accounts::Accounts;
use crate::fetch::Content;
use crate::prepare::FileContents;
use crate::root::{Access, Kind, Place, Root};

const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// Why a file, directory or link cannot be as the config wants it.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The system refused.
    #[error("cannot write {path}")]
    Write {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is there that the config does not allow to replace.
    #[error("{path} is {what} already, and the config does not say `overwrite`")]
    Exists {
        /// Which.
        path: String,
        /// What is there.
        what: &'static str,
    },
    /// A name that the target does not know.
    #[error("{path} should belong to {kind} `{name}`, which the target does not have")]
    NoOwner {
        /// Which.
        path: String,
        /// `user` or `group`.
        kind: &'static str,
        /// Which.
        name: String,
    },
    /// A number that cannot be an owner.
    #[error("{path} cannot belong to number {id}")]
    BadOwner {
        /// Which.
        path: String,
        /// Which.
        id: i64,
    },
}

type Result<T> = std::result::Result<T, NodeError>;

/// What writes nodes into one target.
pub(crate) struct Writer<'r> {
    pub(crate) root: &'r Root,
    pub(crate) accounts: &'r Accounts,
}

enum Node<'c> {
    Directory(&'c Directory),
    File(&'c File, &'c FileContents),
    Link(&'c Link),
}

impl Node<'_> {
    fn path(&self) -> &str {
        match self {
            Node::Directory(directory) => &directory.path,
            Node::File(file, _) => &file.path,
            Node::Link(link) => &link.path,
        }
    }

    /// Depth, hard links behind everything.
    fn order(&self) -> (bool, usize) {
        let hard = matches!(self, Node::Link(Link { hard: Some(true), .. }));
        (hard, self.path().split('/').filter(|component| !component.is_empty()).count())
    }
}

impl Writer<'_> {
    /// Writes all of them. `contents` are those of `files`, in the same order.
    pub(crate) fn write_all(
        &self,
        directories: &[Directory],
        files: &[File],
        contents: &[FileContents],
        links: &[Link],
    ) -> Result<()> {
        let mut nodes: Vec<Node<'_>> = directories.iter().map(Node::Directory).collect();
        nodes.extend(files.iter().zip(contents).map(|(file, contents)| Node::File(file, contents)));
        nodes.extend(links.iter().map(Node::Link));
        nodes.sort_by_key(Node::order);
        nodes.iter().try_for_each(|node| self.write(node))
    }

    /// Whether all owners are known, before anything is written.
    pub(crate) fn check_owners(&self, storage: &Storage) -> Result<()> {
        let nobody = Access { uid: 0, gid: 0, mode: 0 };
        let directories = storage.directories.iter().map(|node| (&node.path, &node.user, &node.group));
        let files = storage.files.iter().map(|node| (&node.path, &node.user, &node.group));
        let links = storage.links.iter().map(|node| (&node.path, &node.user, &node.group));
        directories
            .chain(files)
            .chain(links)
            .try_for_each(|(path, user, group)| self.access(path, user, group, None, nobody).map(|_| ()))
    }

    fn write(&self, node: &Node<'_>) -> Result<()> {
        match node {
            Node::Directory(directory) => self.directory(directory),
            Node::File(file, contents) => self.file(file, contents),
            Node::Link(link) => self.link(link),
        }
    }

    fn directory(&self, directory: &Directory) -> Result<()> {
        let path = &directory.path;
        let failed = failed(path);
        let place = self.root.place(path).map_err(&failed)?;
        if directory.overwrite == Some(true) && path != "/" {
            place.remove().map_err(&failed)?;
        }
        let old = match place.kind().map_err(&failed)? {
            None => {
                place.make_directory().map_err(&failed)?;
                Access { uid: 0, gid: 0, mode: DIRECTORY_MODE }
            }
            Some(Kind::Directory) => current(&place).map_err(&failed)?,
            Some(kind) => return Err(NodeError::Exists { path: path.clone(), what: noun(kind) }),
        };
        let access = self.access(path, &directory.user, &directory.group, directory.mode, old)?;
        place.set_access(access).map_err(&failed)
    }

    fn file(&self, file: &File, contents: &FileContents) -> Result<()> {
        let path = &file.path;
        let failed = failed(path);
        let place = self.root.place(path).map_err(&failed)?;
        let overwrite = file.overwrite == Some(true);
        let kind = place.kind().map_err(&failed)?;
        let fresh = Access { uid: 0, gid: 0, mode: FILE_MODE };
        let there = match kind {
            Some(Kind::File) => Some(place.read().map_err(&failed)?),
            None => None,
            Some(_) if overwrite => None,
            Some(kind) => return Err(NodeError::Exists { path: path.clone(), what: noun(kind) }),
        };
        let same = match &there {
            Some(there) => contents.base.is_some() && contents.is(there).map_err(&failed)?,
            None => false,
        };
        if there.is_some() && contents.base.is_some() && !overwrite && !same {
            return Err(NodeError::Exists { path: path.clone(), what: "another file" });
        }
        let old = if there.is_some() && !overwrite { current(&place).map_err(&failed)? } else { fresh };
        let access = self.access(path, &file.user, &file.group, file.mode, old)?;
        if same {
            return place.set_access(access).map_err(&failed);
        }
        if overwrite && matches!(kind, Some(Kind::Directory)) {
            place.remove().map_err(&failed)?;
        }
        let parts = parts(contents, there.filter(|_| !overwrite).as_deref());
        place
            .write(access, |file| {
                parts.iter().try_for_each(|part| io::copy(&mut part.reader(), file).map(|_| ()))
            })
            .map_err(&failed)
    }

    fn link(&self, link: &Link) -> Result<()> {
        let path = &link.path;
        let failed = failed(path);
        let place = self.root.place(path).map_err(&failed)?;
        let target = link.target.as_deref().unwrap_or_default();
        let hard = link.hard == Some(true);
        let kind = place.kind().map_err(&failed)?;
        let source = if hard { Some(self.root.place(target).map_err(&failed)?) } else { None };
        let same = match (&kind, &source) {
            (Some(_), Some(source)) => source.inode().map_err(&failed)? == place.inode().map_err(&failed)?,
            (Some(Kind::Symlink), None) => place.link_target().map_err(&failed)? == target,
            _ => false,
        };
        match kind {
            Some(_) if link.overwrite == Some(true) && !same => place.remove().map_err(&failed)?,
            Some(kind) if !same => return Err(NodeError::Exists { path: path.clone(), what: noun(kind) }),
            _ => {}
        }
        if let Some(source) = source {
            return if same { Ok(()) } else { place.hard_link(&source).map_err(&failed) };
        }
        if same {
            place.remove().map_err(&failed)?;
        }
        let fresh = Access { uid: 0, gid: 0, mode: 0o777 };
        let access = self.access(path, &link.user, &link.group, None, fresh)?;
        place.symlink(target, access.uid, access.gid).map_err(&failed)
    }

    fn access(
        &self,
        path: &str,
        user: &Owner,
        group: &Owner,
        mode: Option<i64>,
        old: Access,
    ) -> Result<Access> {
        let uid_of = |name: &str| self.accounts.user(name).map(|user| user.uid);
        let uid = owner(path, "user", user, old.uid, uid_of)?;
        let gid = owner(path, "group", group, old.gid, |name| self.accounts.group_id(name))?;
        // Before spec 3.6 the set-id and sticky bits are not honoured.
        let mode = mode.and_then(|mode| u32::try_from(mode & 0o777).ok()).unwrap_or(old.mode);
        Ok(Access { uid, gid, mode })
    }
}

/// What the file will be made of: its base and what is appended, or what is there already and the rest.
fn parts(contents: &FileContents, kept: Option<&[u8]>) -> Vec<Content> {
    let mut parts: Vec<Content> = Vec::new();
    match (&contents.base, kept) {
        (Some(base), _) => parts.push(base.clone()),
        (None, Some(kept)) => parts.push(Content::from(kept.to_vec())),
        (None, None) => {}
    }
    parts.extend(contents.append.iter().cloned());
    parts
}

fn owner(
    path: &str,
    kind: &'static str,
    owner: &Owner,
    fallback: u32,
    lookup: impl FnOnce(&str) -> Option<u32>,
) -> Result<u32> {
    match (owner.id, owner.name.as_deref()) {
        (Some(id), _) => u32::try_from(id)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| NodeError::BadOwner { path: path.into(), id }),
        (None, None | Some("")) => Ok(fallback),
        (None, Some(name)) => {
            lookup(name).ok_or_else(|| NodeError::NoOwner { path: path.into(), kind, name: name.into() })
        }
    }
}

fn current(place: &Place) -> io::Result<Access> {
    Ok(place.access()?.unwrap_or(Access { uid: 0, gid: 0, mode: FILE_MODE }))
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "a file",
        Kind::Directory => "a directory",
        Kind::Symlink => "a symbolic link",
        Kind::Other => "a device, pipe or socket",
    }
}

fn failed(path: &str) -> impl Fn(io::Error) -> NodeError + use<> {
    let path = path.to_owned();
    move |source| NodeError::Write { path: path.clone(), source }
}
