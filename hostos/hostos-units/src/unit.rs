//! A unit at run time: its file, its relations, its state.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;

use unit_file::{UnitFile, UnitKind, UnitName};

use crate::clock::Moment;
use crate::config::general::{InstallConfig, Relation, UnitConfig};
use crate::jobs::JobId;
use crate::path::PathUnit;
use crate::service::Service;
use crate::socket::SocketUnit;
use crate::states::{ActiveState, LoadState, ServiceResult};
use crate::timer::Timer;

/// Index of a unit in its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnitId(pub(crate) u32);

/// What is particular to a kind.
#[derive(Debug)]
pub(crate) enum Detail {
    Service(Box<Service>),
    Timer(Box<Timer>),
    Path(Box<PathUnit>),
    Socket(Box<SocketUnit>),
    Mount(Box<crate::config::triggers::MountConfig>),
    /// Targets, slices, and kinds that are only names here.
    Plain,
}

/// When what changed last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) inactive_exit: Moment,
    pub(crate) active_enter: Moment,
    pub(crate) active_exit: Moment,
    pub(crate) inactive_enter: Moment,
    /// Microseconds since 1970.
    pub(crate) changed: u64,
    pub(crate) active_enter_wall: u64,
    pub(crate) inactive_enter_wall: u64,
}

#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) name: UnitName,
    pub(crate) load: LoadState,
    pub(crate) load_error: String,
    pub(crate) fragment: Option<PathBuf>,
    pub(crate) drop_ins: Vec<PathBuf>,
    pub(crate) file: UnitFile,
    pub(crate) config: UnitConfig,
    pub(crate) install: InstallConfig,
    pub(crate) relations: BTreeSet<(Relation, UnitId)>,
    /// Those of the relations that this unit's own file (or kind) made.
    pub(crate) own_relations: Vec<(Relation, UnitId)>,
    pub(crate) detail: Detail,
    pub(crate) job: Option<JobId>,
    pub(crate) active: ActiveState,
    pub(crate) sub: &'static str,
    pub(crate) times: Times,
    pub(crate) starts: VecDeque<Moment>,
    pub(crate) condition_result: Option<bool>,
    pub(crate) invocation: String,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) start_limit_hit: bool,
    /// `enabled`, `static` and so on, as it was when the unit was read.
    pub(crate) file_state: String,
}

impl Unit {
    pub(crate) fn new(name: UnitName) -> Self {
        Self {
            name,
            load: LoadState::Stub,
            load_error: String::new(),
            fragment: None,
            drop_ins: Vec::new(),
            file: UnitFile::default(),
            config: UnitConfig::default(),
            install: InstallConfig::default(),
            relations: BTreeSet::new(),
            own_relations: Vec::new(),
            detail: Detail::Plain,
            job: None,
            active: ActiveState::Inactive,
            sub: "dead",
            times: Times::default(),
            starts: VecDeque::new(),
            condition_result: None,
            invocation: String::new(),
            cgroup: None,
            start_limit_hit: false,
            file_state: String::new(),
        }
    }

    /// All units it relates to in this way.
    pub(crate) fn related(&self, relation: Relation) -> impl Iterator<Item = UnitId> + '_ {
        let range = (relation, UnitId(0))..=(relation, UnitId(u32::MAX));
        self.relations.range(range).map(|(_, id)| *id)
    }

    pub(crate) fn is_related(&self, relation: Relation, other: UnitId) -> bool {
        self.relations.contains(&(relation, other))
    }

    pub(crate) fn description(&self) -> &str {
        if self.config.description.is_empty() { self.name.as_str() } else { &self.config.description }
    }

    pub(crate) fn kind(&self) -> UnitKind {
        self.name.kind()
    }

    pub(crate) fn result(&self) -> &'static str {
        match &self.detail {
            Detail::Service(service) => service.result.name(),
            _ if self.start_limit_hit => ServiceResult::StartLimitHit.name(),
            _ if self.active == ActiveState::Failed => "resources",
            _ => ServiceResult::Success.name(),
        }
    }
}
