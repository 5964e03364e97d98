//! One cgroup v2 per unit. Where the hierarchy cannot be written, there are none, and processes are
//! tracked by their group only.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::unit::UnitId;

#[derive(Debug)]
pub(crate) struct Cgroups {
    root: Option<PathBuf>,
    pub(crate) events: Inotify,
    watches: HashMap<WatchDescriptor, UnitId>,
    /// Folders and the controllers their children have.
    enabled: HashSet<(PathBuf, &'static str)>,
    default_tasks: String,
}

const CONTROLLERS: [&str; 5] = ["cpu", "memory", "pids", "io", "cpuset"];

impl Cgroups {
    /// Uses the folder if it is a cgroup v2 that can be written.
    pub(crate) fn new(root: Option<&Path>) -> io::Result<Self> {
        let usable = |root: &&Path| {
            root.join("cgroup.procs").exists() && fs::create_dir_all(root.join("system.slice")).is_ok()
        };
        let events = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // As systemd: 15 % of what the machine can have.
        let tasks = crate::host::tasks_total().unwrap_or(32_768) * 15 / 100;
        Ok(Self {
            root: root.filter(usable).map(Path::to_owned),
            events,
            watches: HashMap::new(),
            enabled: HashSet::new(),
            default_tasks: tasks.max(64).to_string(),
        })
    }

    /// The folder, if there is one that can be used.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Moves this process out of the way of the rule that a cgroup has either processes or limits.
    pub(crate) fn enter_own_scope(&self) {
        if let Some(root) = &self.root {
            let scope = root.join("init.scope");
            let _ = fs::create_dir_all(&scope);
            let _ = fs::write(scope.join("cgroup.procs"), "0");
        }
    }

    /// Makes the cgroup of a unit, with its limits. Settings that the kernel refuses are returned.
    pub(crate) fn create(
        &mut self,
        unit: UnitId,
        name: &str,
        slice: &str,
        settings: &[(&'static str, String)],
    ) -> Option<(PathBuf, Vec<String>)> {
        let path = self.path(slice)?.join(name);
        fs::create_dir_all(&path).ok()?;
        self.enable_controllers(&path, if settings.is_empty() { &["pids"] } else { &CONTROLLERS });
        if !settings.iter().any(|(file, _)| *file == "pids.max") {
            // A unit that says nothing still cannot take all processes of the machine.
            let _ = fs::write(path.join("pids.max"), &self.default_tasks);
        }
        let mut refused = Vec::new();
        for (file, value) in settings {
            if let Err(error) = fs::write(path.join(file), value) {
                refused.push(format!("could not write {value} to {file} of its cgroup: {error}"));
            }
        }
        // A limit on memory without one on swap is none.
        let limited = settings.iter().any(|(file, _)| *file == "memory.max");
        if limited && !settings.iter().any(|(file, _)| *file == "memory.swap.max") {
            let _ = fs::write(path.join("memory.swap.max"), "0");
        }
        if limited {
            let _ = fs::write(path.join("memory.oom.group"), "0");
        }
        if let Ok(watch) = self.events.add_watch(&path.join("cgroup.events"), AddWatchFlags::IN_MODIFY) {
            self.watches.insert(watch, unit);
        }
        Some((path, refused))
    }

    /// `a-b.slice` is below `a.slice`.
    fn path(&self, slice: &str) -> Option<PathBuf> {
        let mut path = self.root.clone()?;
        let stem = slice.trim_end_matches(".slice");
        if stem == "-" {
            return Some(path);
        }
        let parts: Vec<_> = stem.split('-').collect();
        for count in 1..=parts.len() {
            path.push(format!("{}.slice", parts[..count].join("-")));
        }
        Some(path)
    }

    fn enable_controllers(&mut self, leaf: &Path, wanted: &[&'static str]) {
        let Some(root) = &self.root else { return };
        let missing = |(parent, controller): &(PathBuf, &'static str)| {
            !self.enabled.contains(&(parent.clone(), *controller))
        };
        let parent = leaf.parent().unwrap_or(root).to_owned();
        if !wanted.iter().any(|controller| missing(&(parent.clone(), controller))) {
            return;
        }
        let known = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let is_known = |wanted: &&&'static str| known.split_ascii_whitespace().any(|known| known == **wanted);
        let usable: Vec<_> = wanted.iter().filter(is_known).collect();
        let mut parents: Vec<_> =
            leaf.ancestors().skip(1).take_while(|parent| parent.starts_with(root)).collect();
        parents.reverse();
        for above in parents {
            // One by one, as one that is refused takes the others with it.
            for controller in &usable {
                let _ = fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
        self.enabled.extend(wanted.iter().map(|controller| (parent.clone(), *controller)));
    }

    /// Units whose cgroup lost its last process or got its first.
    pub(crate) fn changed(&self) -> Vec<UnitId> {
        let mut units = Vec::new();
        while let Ok(events) = self.events.read_events() {
            units.extend(events.iter().filter_map(|event| self.watches.get(&event.wd)));
        }
        units.sort_unstable();
        units.dedup();
        units
    }

    /// Removes the cgroup of a unit, if nothing is in it.
    pub(crate) fn remove(&mut self, unit: UnitId, path: &Path) -> bool {
        let removed = remove_tree(path);
        if removed {
            let gone: Vec<_> =
                self.watches.iter().filter(|(_, owner)| **owner == unit).map(|(watch, _)| *watch).collect();
            for watch in gone {
                self.watches.remove(&watch);
                let _ = self.events.rm_watch(watch);
            }
        }
        removed
    }
}

fn remove_tree(path: &Path) -> bool {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !remove_tree(&entry.path()) {
            return false;
        }
    }
    fs::remove_dir(path).is_ok() || !path.exists()
}

/// Is a process in it or below?
pub(crate) fn is_populated(path: &Path) -> bool {
    let events = fs::read_to_string(path.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}

/// Has the kernel killed a process in it for want of memory?
pub(crate) fn oom_kills(path: &Path) -> u64 {
    let events = fs::read_to_string(path.join("memory.events")).unwrap_or_default();
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// All processes in it and below.
pub(crate) fn processes(path: &Path) -> Vec<i32> {
    let own = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(processes(&entry.path()));
        }
    }
    found
}

/// SIGKILL to all of it at once, also to what is being forked. False on kernels that cannot.
pub(crate) fn kill_all(path: &Path) -> bool {
    fs::write(path.join("cgroup.kill"), "1").is_ok()
}
