//! What a shim is asked to run: the container, told in kernel terms.
//!
//! `engined` writes a [`Spec`] as `spec.json` into the container's state
//! directory. Everything that needs knowledge of images, networks or policy has
//! been decided before; nothing here is looked up by name except the user, who
//! can only be found inside the container's root.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// The 64 hexadecimal digits of the container.
    pub id: String,
    pub rootfs: Rootfs,
    pub process: Process,
    pub hostname: String,
    pub domainname: String,
    pub namespaces: Namespaces,
    /// Set up in this order, after the standard ones of [`Mounts`].
    pub mounts: Vec<Mount>,
    /// Which standard mounts (`/proc`, `/dev`, `/sys` …) the root gets.
    pub standard_mounts: Mounts,
    /// Device nodes beyond the six standard ones.
    pub devices: Vec<Device>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub readonly_rootfs: bool,
    /// `net.ipv4.ip_forward` → `1`; written through a private procfs.
    pub sysctl: BTreeMap<String, String>,
    pub cgroup: Cgroup,
    pub log: Log,
    /// Put a tiny init in front of the program as process 1.
    pub init: bool,
    /// How the root mount propagates: `private` (default), `slave`, `shared`.
    pub root_propagation: Propagation,
    /// What stdin is.
    pub stdin: Stdin,
}

/// The process of a container or of an exec session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    pub args: Vec<String>,
    /// `KEY=value`, in order; `HOME` is added from the container's passwd if absent.
    pub env: Vec<String>,
    /// Empty means `/`. Created if missing, except for exec.
    pub cwd: String,
    /// Docker's `--user`: empty, `name`, `uid`, `name:group`, `uid:gid`.
    pub user: String,
    /// Docker's `--group-add`: names or numbers.
    pub groups: Vec<String>,
    pub tty: bool,
    /// Rows and columns, when known at start.
    pub console_size: Option<(u16, u16)>,
    /// `CAP_CHOWN` or `CHOWN`. Bounding set always; permitted and effective
    /// only while the user is root, as Docker does.
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    pub rlimits: Vec<Rlimit>,
    pub oom_score_adj: Option<i32>,
    /// A classic BPF program, one instruction per number:
    /// `code << 48 | jt << 40 | jf << 32 | k`. Empty means unconfined.
    pub seccomp: Vec<u64>,
    /// `newinstance` terminals get this owner group; Docker uses 5.
    pub apparmor: Option<String>,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rootfs {
    /// An overlay, mounted in the container's mount namespace only.
    Overlay {
        /// Topmost first.
        lower: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        /// Skip syncing: only for containers whose upper layer is thrown away.
        #[serde(default)]
        volatile: bool,
    },
    /// A directory used as it is.
    Dir { path: PathBuf },
}

impl Default for Rootfs {
    fn default() -> Self {
        Self::Dir { path: PathBuf::new() }
    }
}

/// Which namespaces are new, shared with the host, or joined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    pub net: Namespace,
    pub pid: Namespace,
    pub ipc: Namespace,
    pub uts: Namespace,
    pub cgroup: Namespace,
    /// `None`: the engine's own user namespace.
    pub user: Option<UserNamespace>,
}

/// One namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    #[default]
    New,
    Host,
    /// A file to `setns` to, such as `/proc/12/ns/net`.
    Join(PathBuf),
}

/// A user namespace: ranges of (inside, outside, count).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserNamespace {
    pub uid_map: Vec<(u32, u32, u32)>,
    pub gid_map: Vec<(u32, u32, u32)>,
}

/// The mounts each root gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mounts {
    /// Bytes of `/dev/shm`; 0 means 64 MiB.
    pub shm_size: u64,
    /// Mount this directory on `/dev/shm` instead of a tmpfs of its own (host ipc).
    pub shm_from: Option<PathBuf>,
    /// Mount the `/dev/shm` of this mount namespace there (`--ipc=container:`).
    pub shm_of: Option<PathBuf>,
    /// Leave `/dev/shm` alone (`--ipc=none` has none).
    pub no_shm: bool,
    /// `/sys` and `/sys/fs/cgroup` writable, for privileged containers.
    pub writable_sys: bool,
    /// Show the cgroup tree at `/sys/fs/cgroup`.
    pub cgroup: bool,
    /// Share the engine's own `/dev/mqueue` (host ipc).
    pub host_mqueue: bool,
}

impl Default for Mounts {
    fn default() -> Self {
        Self {
            shm_size: 0,
            shm_from: None,
            shm_of: None,
            no_shm: false,
            writable_sys: false,
            cgroup: true,
            host_mqueue: false,
        }
    }
}

/// A mount asked for by the user: bind, volume, tmpfs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    pub kind: MountKind,
    /// Absolute path on the host; unused for tmpfs.
    pub source: PathBuf,
    /// Absolute path in the container; resolved inside its root, symlinks and all.
    pub target: String,
    pub readonly: bool,
    /// Read-only with all that is mounted below the source, where the kernel can.
    pub readonly_below: bool,
    /// What of the source is mounted; no link in it leads out of the source. Empty: all.
    pub subpath: String,
    /// Bind without what is mounted below the source.
    pub non_recursive: bool,
    pub propagation: Propagation,
    /// tmpfs only: `size=…,mode=…,uid=…,gid=…`.
    pub data: String,
    pub noexec: bool,
    pub nosuid: bool,
    pub nodev: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    #[default]
    Bind,
    Tmpfs,
}

/// How mounts spread between the container and the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    #[default]
    Rprivate,
    Private,
    Rslave,
    Slave,
    Rshared,
    Shared,
}

/// A device node to make in the container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Path in the container, below `/dev` or elsewhere.
    pub path: String,
    /// `c`, `b` or `p`.
    pub kind: char,
    pub major: u32,
    pub minor: u32,
    /// Permission bits, for example 0o660.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rlimit {
    /// `nofile`, `core`, `nproc` … as Docker spells them.
    pub name: String,
    /// -1 is unlimited.
    pub soft: i64,
    pub hard: i64,
}

/// The cgroup directories the container's processes join; made and limited by
/// the engine beforehand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cgroup {
    /// One directory per v1 hierarchy.
    pub v1: Vec<PathBuf>,
    /// The directory in the unified hierarchy.
    pub v2: Option<PathBuf>,
    /// `/docker/ID`, as seen from the hierarchies' roots.
    pub path: String,
    /// `tasks` or `cgroup.procs` files the shim itself moves to, once the
    /// program runs, so that the end of the engine's service spares it.
    pub shim_files: Vec<PathBuf>,
}

/// Where the output goes besides attached clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case")]
pub enum Log {
    #[default]
    None,
    JsonFile {
        path: PathBuf,
        /// Bytes after which the file is rotated; 0 means never.
        #[serde(default)]
        max_size: u64,
        /// Files kept, the current one included; at least 1.
        #[serde(default)]
        max_file: u32,
        /// Written into each line as `attrs` when not empty.
        #[serde(default)]
        attrs: BTreeMap<String, String>,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`, or a terminal nobody types into.
    #[default]
    Closed,
    /// Stays open whoever comes and goes.
    Open,
    /// Closes when the first client that attached it leaves.
    Once,
}

/// A further process in a running container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    pub id: String,
    pub process: Process,
    /// Keep stdin open for the client; otherwise it is `/dev/null`.
    pub stdin: bool,
}
