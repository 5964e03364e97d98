//! Path units at run time: inotify on what they watch, and a look at whether it holds.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use units_api::JobMode;

use crate::config::general::Relation;
use crate::config::triggers::{PathConfig, PathEvent};
use crate::jobs::StartError;
use crate::states::{ActiveState, JobKind};
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

#[derive(Debug)]
pub(crate) struct PathUnit {
    pub(crate) config: PathConfig,
}

impl PathUnit {
    pub(crate) fn new(config: PathConfig) -> Self {
        Self { config }
    }
}

/// All watches of all path units.
#[derive(Debug)]
pub(crate) struct Watches {
    inotify: Inotify,
    owners: HashMap<WatchDescriptor, Vec<(UnitId, bool)>>,
}

impl Watches {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            owners: HashMap::new(),
        })
    }
}

impl AsFd for Watches {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Supervisor {
    fn path_config(&self, id: UnitId) -> PathConfig {
        match &self.unit(id).detail {
            Detail::Path(path) => path.config.clone(),
            _ => unreachable!("only asked of path units"),
        }
    }

    pub(crate) fn path_start(&mut self, id: UnitId) -> Result<(), StartError> {
        self.new_invocation(id);
        let config = self.path_config(id);
        if config.make_directory {
            for (event, path) in &config.watches {
                if *event != PathEvent::Exists && *event != PathEvent::ExistsGlob {
                    let _ = std::fs::create_dir_all(path);
                }
            }
        }
        self.set_state(id, ActiveState::Active, "waiting");
        self.watch_paths(id, &config);
        if self.path_holds(&config) {
            self.path_fire(id);
        }
        Ok(())
    }

    pub(crate) fn path_stop(&mut self, id: UnitId) {
        self.unwatch_paths(id);
        self.set_state(id, ActiveState::Inactive, "dead");
    }

    fn unwatch_paths(&mut self, id: UnitId) {
        for owners in self.path_watches.owners.values_mut() {
            owners.retain(|(owner, _)| *owner != id);
        }
        let empty: Vec<_> = self
            .path_watches
            .owners
            .iter()
            .filter(|(_, owners)| owners.is_empty())
            .map(|(watch, _)| *watch)
            .collect();
        for watch in empty {
            self.path_watches.owners.remove(&watch);
            let _ = self.path_watches.inotify.rm_watch(watch);
        }
    }

    /// Watches each path, and the nearest folder above it that exists, to see it come.
    fn watch_paths(&mut self, id: UnitId, config: &PathConfig) {
        use AddWatchFlags as F;
        let structure = F::IN_CREATE
            | F::IN_MOVED_TO
            | F::IN_MOVED_FROM
            | F::IN_DELETE
            | F::IN_ATTRIB
            | F::IN_DELETE_SELF
            | F::IN_MOVE_SELF;
        for (event, path) in &config.watches {
            let content = match event {
                PathEvent::Changed => structure | F::IN_CLOSE_WRITE,
                PathEvent::Modified => structure | F::IN_CLOSE_WRITE | F::IN_MODIFY,
                _ => structure,
            };
            let change_counts = matches!(event, PathEvent::Changed | PathEvent::Modified);
            for ancestor in Path::new(path).ancestors() {
                let own = ancestor == Path::new(path);
                let flags = if own { content } else { structure };
                if let Ok(watch) = self
                    .path_watches
                    .inotify
                    .add_watch(ancestor, flags | F::from_bits_retain(libc::IN_MASK_ADD))
                {
                    let owners = self.path_watches.owners.entry(watch).or_default();
                    let entry = (id, own && change_counts);
                    if !owners.contains(&entry) {
                        owners.push(entry);
                    }
                    if !own {
                        break;
                    }
                }
            }
        }
    }

    fn path_holds(&self, config: &PathConfig) -> bool {
        config.watches.iter().any(|(event, path)| match event {
            PathEvent::Exists => Path::new(path).exists(),
            PathEvent::ExistsGlob => crate::glob::any_exists(path),
            PathEvent::DirectoryNotEmpty => {
                std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
            }
            PathEvent::Changed | PathEvent::Modified => false,
        })
    }

    pub(crate) fn paths_changed(&mut self) {
        let mut touched: Vec<(UnitId, bool)> = Vec::new();
        while let Ok(events) = self.path_watches.inotify.read_events() {
            for event in events {
                touched.extend(self.path_watches.owners.get(&event.wd).into_iter().flatten());
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for (id, content) in touched {
            if self.unit(id).active != ActiveState::Active || self.unit(id).sub != "waiting" {
                continue;
            }
            let config = self.path_config(id);
            self.watch_paths(id, &config);
            if content || self.path_holds(&config) {
                self.path_fire(id);
            }
        }
    }

    fn path_fire(&mut self, id: UnitId) {
        self.set_state(id, ActiveState::Active, "running");
        let triggered: Vec<_> = self.unit(id).related(Relation::Triggers).collect();
        for other in triggered {
            if let Err(error) = self.enqueue(other, JobKind::Start, JobMode::Replace) {
                self.log_unit(id, 4, &format!("could not start {}: {error}", self.unit(other).name.clone()));
                self.set_state(id, ActiveState::Failed, "failed");
            }
        }
    }

    /// The unit it starts has ended: wait again, or start it again if the path still holds.
    pub(crate) fn path_triggered_changed(&mut self, id: UnitId, triggered: UnitId) {
        if !self.unit(triggered).active.is_down() || self.unit(id).sub != "running" {
            return;
        }
        if self.unit(triggered).start_limit_hit {
            self.unwatch_paths(id);
            return self.set_state(id, ActiveState::Failed, "failed");
        }
        self.set_state(id, ActiveState::Active, "waiting");
        let config = self.path_config(id);
        self.watch_paths(id, &config);
        if self.path_holds(&config) {
            self.path_fire(id);
        }
    }
}
