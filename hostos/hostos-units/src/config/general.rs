//! `[Unit]` and `[Install]`.

use std::time::Duration;

use unit_file::UnitName;

use super::Section;
use crate::conditions::Condition;

/// How one unit relates to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Relation {
    /// Start it too, and fail with it.
    Requires,
    /// It must already be active.
    Requisite,
    /// Start it too.
    Wants,
    /// As requires, and stop when it stops by itself.
    BindsTo,
    /// Stop and restart with it.
    PartOf,
    /// Keep it running while this runs.
    Upholds,
    /// Never active together.
    Conflicts,
    /// This is started first and stopped last.
    Before,
    /// Reverse of before.
    After,
    /// Started when this fails.
    OnFailure,
    /// Started when this ends well.
    OnSuccess,
    /// Reloaded with this.
    PropagatesReloadTo,
    /// Stopped with this.
    PropagatesStopTo,
    /// This timer, path or socket starts it.
    Triggers,
    RequiredBy,
    RequisiteOf,
    WantedBy,
    BoundBy,
    ConsistsOf,
    UpheldBy,
    ConflictedBy,
    OnFailureOf,
    OnSuccessOf,
    ReloadPropagatedFrom,
    StopPropagatedFrom,
    TriggeredBy,
}

impl Relation {
    /// The same edge seen from its other end.
    pub(crate) const fn inverse(self) -> Self {
        match self {
            Self::Requires => Self::RequiredBy,
            Self::RequiredBy => Self::Requires,
            Self::Requisite => Self::RequisiteOf,
            Self::RequisiteOf => Self::Requisite,
            Self::Wants => Self::WantedBy,
            Self::WantedBy => Self::Wants,
            Self::BindsTo => Self::BoundBy,
            Self::BoundBy => Self::BindsTo,
            Self::PartOf => Self::ConsistsOf,
            Self::ConsistsOf => Self::PartOf,
            Self::Upholds => Self::UpheldBy,
            Self::UpheldBy => Self::Upholds,
            Self::Conflicts => Self::ConflictedBy,
            Self::ConflictedBy => Self::Conflicts,
            Self::Before => Self::After,
            Self::After => Self::Before,
            Self::OnFailure => Self::OnFailureOf,
            Self::OnFailureOf => Self::OnFailure,
            Self::OnSuccess => Self::OnSuccessOf,
            Self::OnSuccessOf => Self::OnSuccess,
            Self::PropagatesReloadTo => Self::ReloadPropagatedFrom,
            Self::ReloadPropagatedFrom => Self::PropagatesReloadTo,
            Self::PropagatesStopTo => Self::StopPropagatedFrom,
            Self::StopPropagatedFrom => Self::PropagatesStopTo,
            Self::Triggers => Self::TriggeredBy,
            Self::TriggeredBy => Self::Triggers,
        }
    }

    /// Its name in `systemctl show`.
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }

    pub(crate) const ALL: [Self; 26] = [
        Self::Requires,
        Self::Requisite,
        Self::Wants,
        Self::BindsTo,
        Self::PartOf,
        Self::Upholds,
        Self::RequiredBy,
        Self::RequisiteOf,
        Self::WantedBy,
        Self::BoundBy,
        Self::ConsistsOf,
        Self::UpheldBy,
        Self::Conflicts,
        Self::ConflictedBy,
        Self::Before,
        Self::After,
        Self::OnFailure,
        Self::OnFailureOf,
        Self::OnSuccess,
        Self::OnSuccessOf,
        Self::Triggers,
        Self::TriggeredBy,
        Self::PropagatesReloadTo,
        Self::ReloadPropagatedFrom,
        Self::PropagatesStopTo,
        Self::StopPropagatedFrom,
    ];
}

/// Options of `[Unit]` that say which relation; older spellings too.
const RELATIONS: [(&str, Relation); 21] = [
    ("Requires", Relation::Requires),
    ("RequiresOverridable", Relation::Requires),
    ("Requisite", Relation::Requisite),
    ("RequisiteOverridable", Relation::Requisite),
    ("Wants", Relation::Wants),
    ("BindsTo", Relation::BindsTo),
    ("BindTo", Relation::BindsTo),
    ("PartOf", Relation::PartOf),
    ("Upholds", Relation::Upholds),
    ("Conflicts", Relation::Conflicts),
    ("Before", Relation::Before),
    ("After", Relation::After),
    ("OnFailure", Relation::OnFailure),
    ("OnSuccess", Relation::OnSuccess),
    ("PropagatesReloadTo", Relation::PropagatesReloadTo),
    ("PropagateReloadTo", Relation::PropagatesReloadTo),
    ("ReloadPropagatedFrom", Relation::ReloadPropagatedFrom),
    ("PropagateReloadFrom", Relation::ReloadPropagatedFrom),
    ("PropagatesStopTo", Relation::PropagatesStopTo),
    ("StopPropagatedFrom", Relation::StopPropagatedFrom),
    ("JoinsNamespaceOf", Relation::After),
];

/// What `[Unit]` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnitConfig {
    pub(crate) description: String,
    pub(crate) documentation: Vec<String>,
    pub(crate) relations: Vec<(Relation, UnitName)>,
    pub(crate) mounts_for: Vec<String>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) default_dependencies: bool,
    pub(crate) stop_when_unneeded: bool,
    pub(crate) ignore_on_isolate: bool,
    pub(crate) allow_isolate: bool,
    pub(crate) refuse_manual_start: bool,
    pub(crate) refuse_manual_stop: bool,
    pub(crate) job_timeout: Option<Duration>,
    pub(crate) start_limit_interval: Duration,
    pub(crate) start_limit_burst: u32,
    pub(crate) start_limit_action: Action,
    pub(crate) failure_action: Action,
    pub(crate) success_action: Action,
}

/// What happens to the whole machine because of a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    #[default]
    None,
    Reboot,
    Poweroff,
    Exit,
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "reboot" | "reboot-force" | "reboot-immediate" => Some(Self::Reboot),
            "poweroff" | "poweroff-force" | "poweroff-immediate" => Some(Self::Poweroff),
            "exit" | "exit-force" => Some(Self::Exit),
            _ => None,
        }
    }
}

impl UnitConfig {
    pub(crate) fn parse(section: &Section<'_>) -> Self {
        let legacy = |key: &str| {
            Section { name: "Service", warnings: std::cell::RefCell::default(), ..*section }.text(key)
        };
        let interval_key = if section.text("StartLimitInterval").is_some() {
            "StartLimitInterval"
        } else {
            "StartLimitIntervalSec"
        };
        let default_interval = Duration::from_secs(10);
        let interval = legacy("StartLimitInterval")
            .and_then(|text| unit_file::parse_span(&text, Duration::from_secs(1)))
            .map_or(default_interval, |span| match span {
                unit_file::TimeSpan::Finite(span) => span,
                unit_file::TimeSpan::Infinite => Duration::MAX,
            });
        let burst = legacy("StartLimitBurst").and_then(|text| text.parse().ok()).unwrap_or(5);
        Self {
            description: section.text("Description").unwrap_or_default(),
            documentation: section.words("Documentation"),
            relations: relations(section),
            mounts_for: section.words("RequiresMountsFor"),
            conditions: Condition::parse_all(section),
            default_dependencies: section.flag("DefaultDependencies", true),
            stop_when_unneeded: section.flag("StopWhenUnneeded", false),
            ignore_on_isolate: section.flag("IgnoreOnIsolate", false),
            allow_isolate: section.flag("AllowIsolate", false),
            refuse_manual_start: section.flag("RefuseManualStart", false),
            refuse_manual_stop: section.flag("RefuseManualStop", false),
            job_timeout: section.limit("JobTimeoutSec", None),
            start_limit_interval: section.span(interval_key, interval),
            start_limit_burst: section.parsed("StartLimitBurst", |text| text.parse().ok()).unwrap_or(burst),
            start_limit_action: section.parsed("StartLimitAction", Action::parse).unwrap_or_default(),
            failure_action: section.parsed("FailureAction", Action::parse).unwrap_or_default(),
            success_action: section.parsed("SuccessAction", Action::parse).unwrap_or_default(),
        }
    }
}

fn relations(section: &Section<'_>) -> Vec<(Relation, UnitName)> {
    let mut found = Vec::new();
    for (key, relation) in RELATIONS {
        for word in section.words(key) {
            match word.parse::<UnitName>() {
                Ok(name) if name.is_template() => {
                    let instance = section.unit.instance().unwrap_or_default();
                    found.push((relation, name.instantiate(instance)));
                }
                Ok(name) => found.push((relation, name)),
                Err(_) => section.warn(key, &word),
            }
        }
    }
    found
}

/// What `[Install]` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct InstallConfig {
    pub(crate) wanted_by: Vec<String>,
    pub(crate) required_by: Vec<String>,
    pub(crate) also: Vec<String>,
    pub(crate) alias: Vec<String>,
    pub(crate) default_instance: Option<String>,
}

impl InstallConfig {
    pub(crate) fn parse(section: &Section<'_>) -> Self {
        Self {
            wanted_by: section.words("WantedBy"),
            required_by: section.words("RequiredBy"),
            also: section.words("Also"),
            alias: section.words("Alias"),
            default_instance: section.text("DefaultInstance"),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wanted_by.is_empty()
            && self.required_by.is_empty()
            && self.also.is_empty()
            && self.alias.is_empty()
    }
}
