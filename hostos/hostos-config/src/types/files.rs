//! Files, directories and links as a config declares them, and the section that holds them.

use super::{Disk, Filesystem, Luks, Raid, Resource, section};

section! {
    /// Disks, filesystems, files.
    pub struct Storage {
        /// Directories.
        pub directories: Vec<Directory>,
        /// Partition tables.
        pub disks: Vec<Disk>,
        /// Files.
        pub files: Vec<File>,
        /// Filesystems.
        pub filesystems: Vec<Filesystem>,
        /// Symbolic and hard links.
        pub links: Vec<Link>,
        /// Encrypted volumes (3.2).
        pub luks: Vec<Luks>,
        /// Software arrays.
        pub raid: Vec<Raid>,
    }

    /// A directory.
    pub struct Directory {
        /// Root unless set.
        pub group: Owner,
        /// Remove what is there first.
        pub overwrite: Option<bool>,
        /// Absolute path.
        pub path: String,
        /// Root unless set.
        pub user: Owner,
        /// 0755 unless set.
        pub mode: Option<i64>,
    }

    /// A regular file.
    pub struct File {
        /// Root unless set.
        pub group: Owner,
        /// Replace what is there; refuse otherwise.
        pub overwrite: Option<bool>,
        /// Absolute path.
        pub path: String,
        /// Root unless set.
        pub user: Owner,
        /// Added to the end, in their order.
        pub append: Vec<Resource>,
        /// The whole content; an empty file without it, or what is there already.
        pub contents: Resource,
        /// 0644 unless set.
        pub mode: Option<i64>,
    }

    /// A symbolic or hard link.
    pub struct Link {
        /// Root unless set.
        pub group: Owner,
        /// Remove what is there first.
        pub overwrite: Option<bool>,
        /// Absolute path.
        pub path: String,
        /// Root unless set.
        pub user: Owner,
        /// A hard link.
        pub hard: Option<bool>,
        /// What it points at.
        pub target: Option<String>,
    }

    /// A user or group, by number or by name.
    pub struct Owner {
        /// Number.
        pub id: Option<i64>,
        /// Name, looked up in the target's own files.
        pub name: Option<String>,
    }
}
