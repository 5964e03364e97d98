//! Cgroups of containers, on v1, hybrid and v2.
//!
//! Directories are made and limited here, before the shim starts; the
//! container's processes join by themselves (see engine-shim). On a hybrid host
//! limits live in the v1 hierarchies, and the unified one serves to find and
//! kill processes.

mod bpf;
mod layout;
mod stats;
mod v1;
mod v2;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine_shim::spec::Cgroup;

use crate::error::{At, RuntimeError};
use crate::limits::{Resources, Stats};

pub(crate) use layout::Layout;

/// The hierarchies found here, and where containers go in them.
#[derive(Debug, Clone)]
pub struct Cgroups {
    layout: Layout,
    parent: String,
}

/// One container's cgroups.
#[derive(Debug, Clone)]
pub struct CgroupSet {
    spec: Cgroup,
}

/// How long an emptied cgroup may take to become removable.
const REMOVAL: Duration = Duration::from_secs(5);

impl Cgroups {
    /// Looks at this process's mounts.
    pub fn detect(parent: &str) -> Result<Self, RuntimeError> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").at("read", "/proc/self/mountinfo")?;
        let layout = Layout::parse(&mounts).ok_or_else(|| RuntimeError::Unsupported {
            what: "limit containers".into(),
            why: "no cgroup hierarchy is mounted below /sys/fs/cgroup".into(),
        })?;
        Ok(Self { layout, parent: parent.trim_matches('/').to_owned() })
    }

    /// 1 or 2, as `docker info` tells it; hybrid counts as 1.
    #[must_use]
    pub fn version(&self) -> u8 {
        if self.layout.v1.is_empty() { 2 } else { 1 }
    }

    /// Is `memory`, `cpu`, `pids`, `cpuset`, `blkio` … there?
    #[must_use]
    pub fn has(&self, controller: &str) -> bool {
        self.layout.has(controller)
    }

    pub(crate) fn create(&self, id: &str, resources: &Resources) -> Result<CgroupSet, RuntimeError> {
        let set = CgroupSet { spec: self.spec(id) };
        let made = if set.is_v1() {
            v1::create(&self.layout, &set.spec, &self.parent, resources)
        } else {
            v2::create(&set.spec, &self.layout, &self.parent, resources)
        };
        if let Err(error) = made {
            for dir in set.dirs() {
                let _ = std::fs::remove_dir(dir);
            }
            return Err(error);
        }
        Ok(set)
    }

    fn spec(&self, id: &str) -> Cgroup {
        let path = if self.parent.is_empty() { format!("/{id}") } else { format!("/{}/{id}", self.parent) };
        let below = |root: &Path| root.join(path.trim_start_matches('/'));
        Cgroup {
            v1: self.layout.v1.iter().map(|hierarchy| below(&hierarchy.root)).collect(),
            v2: self.layout.unified.as_deref().map(below),
            shim_files: self.layout.shim_files(&self.parent),
            path,
        }
    }

    pub(crate) fn existing(&self, spec: &Cgroup) -> CgroupSet {
        CgroupSet { spec: spec.clone() }
    }

    /// Kills what is left in a container's cgroups and removes them.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let set = CgroupSet { spec: self.spec(id) };
        let deadline = tokio::time::Instant::now() + REMOVAL;
        loop {
            match set.remove_once() {
                Ok(()) => return Ok(()),
                Err(error) if tokio::time::Instant::now() > deadline => return Err(error),
                Err(_) => {
                    let _ = set.kill_all();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }
}

impl CgroupSet {
    /// What the shim needs to know, for [`engine_shim::spec::Spec::cgroup`].
    #[must_use]
    pub fn spec(&self) -> Cgroup {
        self.spec.clone()
    }

    fn is_v1(&self) -> bool {
        !self.spec.v1.is_empty()
    }

    fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.spec.v1.iter().chain(&self.spec.v2)
    }

    pub(crate) fn update(&self, resources: &Resources) -> Result<(), RuntimeError> {
        if self.is_v1() { v1::limit(&self.spec, resources) } else { v2::limit(&self.spec, resources) }
    }

    pub(crate) fn stats(&self) -> Result<Stats, RuntimeError> {
        if self.is_v1() { stats::read_v1(&self.spec) } else { stats::read_v2(&self.spec) }
    }

    /// The unified directory if there is one, else the v1 directory that tells best.
    fn process_dir(&self) -> Option<&PathBuf> {
        self.spec
            .v2
            .as_ref()
            .or_else(|| self.spec.v1.iter().find(|dir| is_in(dir, "pids")).or(self.spec.v1.first()))
    }

    pub(crate) fn pids(&self) -> Result<Vec<i32>, RuntimeError> {
        let mut pids = Vec::new();
        if let Some(dir) = self.process_dir() {
            collect_pids(dir, &mut pids).at("list processes of", dir)?;
        }
        pids.sort_unstable();
        Ok(pids)
    }

    pub(crate) fn kill_all(&self) -> Result<(), RuntimeError> {
        if let Some(dir) = &self.spec.v2
            && std::fs::write(dir.join("cgroup.kill"), "1").is_ok()
        {
            return Ok(());
        }
        for _ in 0..10 {
            let pids = self.pids()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids {
                let _ = engine_shim::sys::kill(pid, libc::SIGKILL);
            }
        }
        Ok(())
    }

    fn freezer(&self) -> Option<PathBuf> {
        self.spec.v1.iter().find(|dir| is_in(dir, "freezer")).map(|dir| dir.join("freezer.state"))
    }

    pub(crate) fn set_frozen(&self, frozen: bool) -> Result<(), RuntimeError> {
        if let Some(file) = self.freezer() {
            return std::fs::write(&file, if frozen { "FROZEN" } else { "THAWED" }).at("write", file);
        }
        let Some(dir) = &self.spec.v2 else {
            return Err(RuntimeError::Unsupported {
                what: "pause".into(),
                why: "there is no freezer here".into(),
            });
        };
        let file = dir.join("cgroup.freeze");
        std::fs::write(&file, if frozen { "1" } else { "0" }).at("write", file)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        if let Some(file) = self.freezer() {
            return std::fs::read_to_string(file).is_ok_and(|state| state.trim() == "FROZEN");
        }
        let Some(dir) = &self.spec.v2 else { return false };
        std::fs::read_to_string(dir.join("cgroup.events"))
            .is_ok_and(|text| text.lines().any(|line| line == "frozen 1"))
    }

    fn remove_once(&self) -> Result<(), RuntimeError> {
        let mut result = Ok(());
        for dir in self.dirs() {
            if let Err(error) = remove_tree(dir) {
                result = Err(error).at("remove", dir);
            }
        }
        result
    }
}

/// Does this directory belong to the hierarchy of `controller`?
fn is_in(dir: &Path, controller: &str) -> bool {
    dir.components().any(|part| part.as_os_str().to_string_lossy().split(',').any(|name| name == controller))
}

fn collect_pids(dir: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs"))?;
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for child in children(dir) {
        let _ = collect_pids(&child, pids);
    }
    Ok(())
}

/// Removes a cgroup and those made inside the container, innermost first.
fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in children(dir) {
        remove_tree(&child)?;
    }
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Writes a control file; a controller that is not there is told by name.
fn write_control(dir: &Path, file: &str, value: &str) -> Result<(), RuntimeError> {
    let path = dir.join(file);
    std::fs::write(&path, value).at("write", path)
}
