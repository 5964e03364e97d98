//! Bringing units into memory: read, parse, relate. Units named by others are read too.

use std::fs;
use std::path::{Path, PathBuf};

use unit_file::{UnitFile, UnitKind, UnitName};

use crate::config::Section;
use crate::config::exec::ExecConfig;
use crate::config::general::{InstallConfig, Relation, UnitConfig};
use crate::config::service::ServiceConfig;
use crate::config::triggers::{MountConfig, PathConfig, SocketConfig, TimerConfig};
use crate::lookup::{self, Fragment};
use crate::poll::Timeout;
use crate::service::Service;
use crate::states::{ActiveState, LoadState};
use crate::supervisor::Supervisor;
use crate::unit::{Detail, Unit, UnitId};

impl Supervisor {
    /// The unit of this name, read from disk if it is new.
    pub(crate) fn load(&mut self, name: &UnitName) -> UnitId {
        let id = self.reference(name);
        // What failed to load may be there by now.
        let unit = self.unit(id);
        if unit.job.is_none()
            && matches!(unit.load, LoadState::NotFound | LoadState::Error | LoadState::BadSetting)
        {
            self.forget_relations(id);
            self.unit_mut(id).load = LoadState::Stub;
            self.load_queue.push_back(id);
        }
        self.drain_load_queue();
        // An alias may have led to another unit meanwhile.
        self.names.get(name).copied().unwrap_or(id)
    }

    /// The unit of this name; if new, it is read later.
    pub(crate) fn reference(&mut self, name: &UnitName) -> UnitId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let name = match lookup::fragment(&self.options, name) {
            Fragment::Alias(other) if other != *name => {
                let id = self.reference_plain(&other);
                self.names.insert(name.clone(), id);
                return id;
            }
            _ => name,
        };
        self.reference_plain(name)
    }

    fn reference_plain(&mut self, name: &UnitName) -> UnitId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = match self.free.pop() {
            Some(id) => {
                *self.unit_mut(id) = Unit::new(name.clone());
                id
            }
            None => {
                self.units.push(Unit::new(name.clone()));
                UnitId(u32::try_from(self.units.len() - 1).expect("fewer units than 2^32"))
            }
        };
        self.names.insert(name.clone(), id);
        self.load_queue.push_back(id);
        id
    }

    pub(crate) fn drain_load_queue(&mut self) {
        let mut fresh = Vec::new();
        while let Some(id) = self.load_queue.pop_front() {
            if self.unit(id).load == LoadState::Stub {
                self.load_one(id);
                fresh.push(id);
            }
        }
        for id in fresh {
            self.order_targets(id);
        }
    }

    fn load_one(&mut self, id: UnitId) {
        self.read_one(id);
        let unit = self.unit(id);
        let state = match (&unit.fragment, unit.load) {
            (_, LoadState::Masked) => "masked".into(),
            (None, _) => String::new(),
            (Some(path), _) => crate::install::state(&self.options, &unit.name, path, &unit.install),
        };
        self.unit_mut(id).file_state = state;
    }

    fn read_one(&mut self, id: UnitId) {
        let name = self.unit(id).name.clone();
        if name.is_template() {
            return self.set_load_error(
                id,
                LoadState::Error,
                format!("Unit name {name} is missing the instance name."),
            );
        }
        let (text, fragment) = match lookup::fragment(&self.options, &name) {
            Fragment::File(path) => match fs::read_to_string(&path) {
                Ok(text) => (text, Some(path)),
                Err(error) => {
                    let message = format!("could not read {}: {error}", path.display());
                    return self.set_load_error(id, LoadState::Error, message);
                }
            },
            Fragment::Builtin(text) => (text.to_owned(), None),
            Fragment::Masked(path) => {
                self.unit_mut(id).fragment = Some(path);
                return self.set_load_error(id, LoadState::Masked, format!("Unit {name} is masked."));
            }
            Fragment::Alias(_) | Fragment::Missing => match kernel_made(&name) {
                Some(text) => (text, None),
                None => {
                    return self.set_load_error(id, LoadState::NotFound, format!("Unit {name} not found."));
                }
            },
        };
        let drop_ins = lookup::drop_ins(&self.options, &name);
        match read(&text, fragment.as_deref(), &drop_ins, &mut |warning| self.warn_unit(id, &warning)) {
            Ok(file) => self.adopt(id, file, fragment, drop_ins),
            Err(message) => self.set_load_error(id, LoadState::Error, message),
        }
    }

    fn set_load_error(&mut self, id: UnitId, state: LoadState, message: String) {
        let unit = self.unit_mut(id);
        unit.load = state;
        unit.load_error = message;
    }

    /// Takes over what a file says. The state of a unit that runs stays.
    fn adopt(&mut self, id: UnitId, file: UnitFile, fragment: Option<PathBuf>, drop_ins: Vec<PathBuf>) {
        let name = self.unit(id).name.clone();
        let mut host = self.specifiers.clone();
        host.fragment = fragment.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let general = Section::new(&file, "Unit", &name, &host);
        let config = UnitConfig::parse(&general);
        let install = InstallConfig::parse(&Section::new(&file, "Install", &name, &host));
        let own = Section::new(&file, name.kind().section().unwrap_or("Unit"), &name, &host);
        let detail = self.parse_detail(&own);
        let warnings: Vec<_> = general.warnings.take().into_iter().chain(own.warnings.take()).collect();
        for warning in warnings {
            self.warn_unit(id, &warning);
        }
        let unit = self.unit_mut(id);
        (unit.config, unit.install, unit.fragment, unit.drop_ins) = (config, install, fragment, drop_ins);
        unit.file = file;
        unit.load_error.clear();
        match detail {
            Ok(detail) => {
                unit.load = LoadState::Loaded;
                unit.replace_detail(detail);
            }
            Err(message) => {
                unit.load = LoadState::BadSetting;
                unit.load_error = message;
            }
        }
        if crate::builtin::is_perpetual(name.as_str()) {
            unit.active = ActiveState::Active;
            unit.sub = if name.kind() == UnitKind::Scope {
                "running"
            } else if name.kind() == UnitKind::Mount {
                "mounted"
            } else {
                "active"
            };
        }
        if self.unit(id).load == LoadState::Loaded {
            self.relate(id);
        }
    }

    fn parse_detail(&self, section: &Section<'_>) -> Result<Detail, String> {
        Ok(match section.unit.kind() {
            UnitKind::Service => {
                let config = ServiceConfig::parse(section, &self.options)?;
                Detail::Service(Box::new(Service::new(config)))
            }
            UnitKind::Timer => {
                Detail::Timer(Box::new(crate::timer::Timer::new(TimerConfig::parse(section)?)))
            }
            UnitKind::Path => Detail::Path(Box::new(crate::path::PathUnit::new(PathConfig::parse(section)?))),
            UnitKind::Socket => Detail::Socket(Box::new(crate::socket::SocketUnit::new(
                SocketConfig::parse(section)?,
                ExecConfig::parse(section),
            ))),
            UnitKind::Mount if section.unit.as_str() != "-.mount" => {
                Detail::Mount(Box::new(MountConfig::parse(section)?))
            }
            _ => Detail::Plain,
        })
    }

    fn relate(&mut self, id: UnitId) {
        let unit = self.unit(id);
        let name = unit.name.clone();
        let config = unit.config.clone();
        for (relation, other) in &config.relations {
            self.add_relation(id, *relation, other);
        }
        for (suffix, relation) in
            [("wants", Relation::Wants), ("requires", Relation::Requires), ("upholds", Relation::Upholds)]
        {
            for other in lookup::links(&self.options, &name, suffix) {
                self.add_relation(id, relation, &other);
            }
        }
        let triggered = match &self.unit(id).detail {
            Detail::Timer(timer) => Some(timer.config.unit.clone()),
            Detail::Path(path) => Some(path.config.unit.clone()),
            Detail::Socket(socket) if !socket.config.accept => Some(socket.config.unit.clone()),
            _ => None,
        };
        if let Some(other) = triggered {
            self.add_relation(id, Relation::Triggers, &other);
            self.add_relation(id, Relation::Before, &other);
        }
        for path in &config.mounts_for {
            self.relate_mounts(id, path);
        }
        if config.default_dependencies {
            self.relate_by_default(id, name.kind());
        }
    }

    /// The mount units that are defined for a path and its parents.
    fn relate_mounts(&mut self, id: UnitId, path: &str) {
        for parent in Path::new(path).ancestors().filter(|parent| *parent != Path::new("/")) {
            let name = format!("{}.mount", unit_file::escape_path(&parent.display().to_string()));
            let Ok(name) = name.parse::<UnitName>() else { continue };
            if matches!(lookup::fragment(&self.options, &name), Fragment::File(_)) {
                self.add_relation(id, Relation::Requires, &name);
                self.add_relation(id, Relation::After, &name);
            }
        }
    }

    fn relate_by_default(&mut self, id: UnitId, kind: UnitKind) {
        use Relation::{After, Before, Conflicts, Requires, Wants};
        let usual: &[(Relation, &str)] = match kind {
            UnitKind::Service => {
                &[(Requires, "sysinit.target"), (After, "sysinit.target"), (After, "basic.target")]
            }
            UnitKind::Timer => {
                &[(Requires, "sysinit.target"), (After, "sysinit.target"), (Before, "timers.target")]
            }
            UnitKind::Path => {
                &[(Requires, "sysinit.target"), (After, "sysinit.target"), (Before, "paths.target")]
            }
            UnitKind::Socket => {
                &[(Requires, "sysinit.target"), (After, "sysinit.target"), (Before, "sockets.target")]
            }
            UnitKind::Mount => &[
                (Conflicts, "umount.target"),
                (Before, "umount.target"),
                (Before, "local-fs.target"),
                (After, "local-fs-pre.target"),
                (Wants, "local-fs-pre.target"),
            ],
            UnitKind::Target => &[],
            _ => return,
        };
        let down: &[(Relation, &str)] = if kind == UnitKind::Mount {
            &[]
        } else {
            &[(Conflicts, "shutdown.target"), (Before, "shutdown.target")]
        };
        for (relation, other) in usual.iter().chain(down) {
            let other = other.parse().expect("a valid name");
            self.add_relation(id, *relation, &other);
        }
    }

    pub(crate) fn add_relation(&mut self, id: UnitId, relation: Relation, other: &UnitName) {
        let other = self.reference(other);
        if other != id {
            self.link(id, relation, other);
        }
    }

    fn link(&mut self, id: UnitId, relation: Relation, other: UnitId) {
        let own = (relation, other);
        if !self.unit(id).own_relations.contains(&own) {
            self.unit_mut(id).own_relations.push(own);
        }
        self.unit_mut(id).relations.insert(own);
        self.unit_mut(other).relations.insert((relation.inverse(), id));
    }

    /// A target comes after what it pulls in, unless one of both says otherwise.
    pub(crate) fn order_targets(&mut self, id: UnitId) {
        const PULLS: [Relation; 4] =
            [Relation::Wants, Relation::Requires, Relation::BindsTo, Relation::Requisite];
        let mut pairs: Vec<(UnitId, UnitId)> = Vec::new();
        for relation in PULLS {
            pairs.extend(self.unit(id).related(relation).map(|other| (id, other)));
            pairs.extend(self.unit(id).related(relation.inverse()).map(|target| (target, id)));
        }
        for (target, other) in pairs {
            let (t, o) = (self.unit(target), self.unit(other));
            let both_loaded = t.load == LoadState::Loaded && o.load == LoadState::Loaded;
            let both_default = t.config.default_dependencies && o.config.default_dependencies;
            if t.kind() == UnitKind::Target
                && both_loaded
                && both_default
                && !t.is_related(Relation::Before, other)
            {
                self.link(target, Relation::After, other);
            }
        }
    }

    /// Undoes what this unit's own file made; what others say about it stays.
    fn forget_relations(&mut self, id: UnitId) {
        for (relation, other) in std::mem::take(&mut self.unit_mut(id).own_relations) {
            let theirs = (relation.inverse(), id);
            if !self.unit(other).own_relations.contains(&theirs) {
                self.unit_mut(id).relations.remove(&(relation, other));
                self.unit_mut(other).relations.remove(&theirs);
            }
        }
    }

    /// Forgets units whose file is gone, once nothing of them is left and nobody names them.
    pub(crate) fn collect_garbage(&mut self) {
        for id in std::mem::take(&mut self.removed) {
            let unit = self.unit(id);
            if unit.load != LoadState::NotFound {
                continue;
            }
            let busy = unit.job.is_some()
                || unit.active == ActiveState::Activating
                || !(unit.active.is_down())
                || unit.cgroup.is_some()
                || self.pids.values().any(|owner| *owner == id)
                || self.captures.values().any(|capture| capture.unit == id);
            if busy || !unit.relations.is_empty() {
                self.removed.push(id);
                continue;
            }
            for timeout in
                [Timeout::Service(id), Timeout::Watchdog(id), Timeout::Timer(id), Timeout::PidFile(id)]
            {
                self.deadlines.clear(timeout);
            }
            self.names.retain(|_, known| *known != id);
            self.bound_queue.retain(|known| *known != id);
            self.free.push(id);
        }
    }

    /// Reads one unit again, as its file has changed.
    pub(crate) fn reload_one(&mut self, name: &UnitName) {
        let id = self.reference(name);
        if self.unit(id).load != LoadState::Stub {
            self.forget_relations(id);
            self.unit_mut(id).load = LoadState::Stub;
            self.load_queue.push_back(id);
        }
        self.drain_load_queue();
    }

    /// Reads every unit again. What runs goes on, by the new rules.
    pub(crate) fn daemon_reload(&mut self) {
        for unit in &mut self.units {
            unit.relations.clear();
            unit.own_relations.clear();
            unit.load = LoadState::Stub;
        }
        // Names that were aliases may be units of their own now, and the other way round.
        let units = &self.units;
        self.names.retain(|name, id| units[id.0 as usize].name == *name);
        self.load_queue.extend(self.names.values());
        self.drain_load_queue();
        self.rearm_timers();
    }
}

impl Unit {
    /// Takes over a new configuration and keeps what is going on.
    fn replace_detail(&mut self, new: Detail) {
        match (&mut self.detail, new) {
            (Detail::Service(old), Detail::Service(new)) => old.config = new.config,
            (Detail::Timer(old), Detail::Timer(new)) => old.config = new.config,
            (Detail::Path(old), Detail::Path(new)) => old.config = new.config,
            (Detail::Socket(old), Detail::Socket(new)) => old.config = new.config,
            (detail, new) => *detail = new,
        }
    }
}

/// Slices need no file; mounts and devices that exist are what they are.
fn kernel_made(name: &UnitName) -> Option<String> {
    match name.kind() {
        UnitKind::Slice => Some(format!("[Unit]\nDescription=Slice {name}\n")),
        _ => None,
    }
}

fn read(
    text: &str,
    fragment: Option<&Path>,
    drop_ins: &[PathBuf],
    warn: &mut dyn FnMut(String),
) -> Result<UnitFile, String> {
    let place =
        |path: Option<&Path>| path.map_or_else(|| "built-in unit".into(), |path| path.display().to_string());
    let mut parse = |text: &str, path: Option<&Path>| {
        let file = UnitFile::parse(text).map_err(|error| format!("{}: {error}", place(path)))?;
        for problem in &file.problems {
            warn(format!("{}:{}: {}, ignoring", place(path), problem.line, problem.message));
        }
        Ok::<_, String>(file)
    };
    let mut file = parse(text, fragment)?;
    for path in drop_ins {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("could not read {}: {error}", path.display()))?;
        file.merge(parse(&text, Some(path))?);
    }
    Ok(file)
}
