//! `[Service]`.

use std::collections::BTreeSet;
use std::time::Duration;

use unit_file::{ExecCommand, parse_exec};

use super::Section;
use super::exec::ExecConfig;
use super::kill::KillConfig;
use super::resources::Resources;
use crate::options::Options;

/// When a service counts as started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ServiceType {
    /// Once forked.
    #[default]
    Simple,
    /// Once the program is executed.
    Exec,
    /// Once the first process has ended and left a daemon.
    Forking,
    /// Once the commands have ended.
    Oneshot,
    /// Once it says so.
    Notify,
    /// As simple, but when no jobs run any more.
    Idle,
}

impl ServiceType {
    pub(crate) const ALL: [Self; 6] =
        [Self::Simple, Self::Exec, Self::Forking, Self::Oneshot, Self::Notify, Self::Idle];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Exec => "exec",
            Self::Forking => "forking",
            Self::Oneshot => "oneshot",
            Self::Notify => "notify",
            Self::Idle => "idle",
        }
    }
}

/// When a service is started again by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Restart {
    #[default]
    No,
    OnSuccess,
    OnFailure,
    OnAbnormal,
    OnWatchdog,
    OnAbort,
    Always,
}

impl Restart {
    pub(crate) const ALL: [Self; 7] = [
        Self::No,
        Self::OnSuccess,
        Self::OnFailure,
        Self::OnAbnormal,
        Self::OnWatchdog,
        Self::OnAbort,
        Self::Always,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnSuccess => "on-success",
            Self::OnFailure => "on-failure",
            Self::OnAbnormal => "on-abnormal",
            Self::OnWatchdog => "on-watchdog",
            Self::OnAbort => "on-abort",
            Self::Always => "always",
        }
    }
}

/// Who may send notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NotifyAccess {
    #[default]
    None,
    Main,
    Exec,
    All,
}

/// Codes and signals.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExitStatusSet {
    pub(crate) codes: BTreeSet<i32>,
    pub(crate) signals: BTreeSet<i32>,
}

/// The steps of a service that run commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Condition,
    StartPre,
    Start,
    StartPost,
    Reload,
    Stop,
    StopPost,
}

impl Step {
    pub(crate) const ALL: [Self; 7] = [
        Self::Condition,
        Self::StartPre,
        Self::Start,
        Self::StartPost,
        Self::Reload,
        Self::Stop,
        Self::StopPost,
    ];

    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Condition => "ExecCondition",
            Self::StartPre => "ExecStartPre",
            Self::Start => "ExecStart",
            Self::StartPost => "ExecStartPost",
            Self::Reload => "ExecReload",
            Self::Stop => "ExecStop",
            Self::StopPost => "ExecStopPost",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ServiceConfig {
    pub(crate) kind: ServiceType,
    pub(crate) commands: [Vec<ExecCommand>; 7],
    pub(crate) remain_after_exit: bool,
    pub(crate) guess_main_pid: bool,
    pub(crate) pid_file: Option<String>,
    pub(crate) restart: Restart,
    pub(crate) restart_after: Duration,
    pub(crate) timeout_start: Option<Duration>,
    pub(crate) timeout_stop: Option<Duration>,
    pub(crate) runtime_max: Option<Duration>,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) notify_access: NotifyAccess,
    pub(crate) success_status: ExitStatusSet,
    pub(crate) restart_prevent: ExitStatusSet,
    pub(crate) restart_force: ExitStatusSet,
    pub(crate) exec: ExecConfig,
    pub(crate) kill: KillConfig,
    pub(crate) resources: Resources,
}

const FATAL: &str = "Unit configuration has fatal error, unit will not be started.";

impl ServiceConfig {
    pub(crate) fn commands(&self, step: Step) -> &[ExecCommand] {
        &self.commands[step as usize]
    }

    /// # Errors
    /// Why the unit cannot be started at all.
    pub(crate) fn parse(section: &Section<'_>, options: &Options) -> Result<Self, String> {
        let mut commands: [Vec<ExecCommand>; Step::ALL.len()] = Default::default();
        for step in Step::ALL {
            commands[step as usize] = read_commands(section, step.key())?;
        }
        let has_start = !commands[Step::Start as usize].is_empty();
        let by_name = |text: &str| ServiceType::ALL.into_iter().find(|kind| kind.name() == text);
        let explicit = section
            .parsed("Type", |text| if text == "dbus" { Some(ServiceType::Simple) } else { by_name(text) });
        let kind = explicit.unwrap_or(if has_start { ServiceType::Simple } else { ServiceType::Oneshot });
        let restart = section.parsed("Restart", |text| Restart::ALL.into_iter().find(|r| r.name() == text));
        let config = Self {
            kind,
            remain_after_exit: section.flag("RemainAfterExit", false),
            guess_main_pid: section.flag("GuessMainPID", true),
            pid_file: section.text("PIDFile").map(|path| below_runtime(path, options)),
            restart: restart.unwrap_or_default(),
            restart_after: section.span("RestartSec", Duration::from_millis(100)),
            timeout_start: timeout_start(section, kind, options),
            timeout_stop: timeout(section, "TimeoutStopSec", Some(options.timeout_stop)),
            runtime_max: section.limit("RuntimeMaxSec", None),
            watchdog: section.limit("WatchdogSec", None),
            notify_access: notify_access(section, kind),
            success_status: exit_statuses(section, "SuccessExitStatus"),
            restart_prevent: exit_statuses(section, "RestartPreventExitStatus"),
            restart_force: exit_statuses(section, "RestartForceExitStatus"),
            exec: ExecConfig::parse(section),
            kill: KillConfig::parse(section),
            resources: Resources::parse(section),
            commands,
        };
        config.check(section).map(|()| config)
    }

    fn check(&self, section: &Section<'_>) -> Result<(), String> {
        if let Some(reason) = self.exec.fatal() {
            section.warnings.borrow_mut().push(format!("{}: {reason}", section.unit));
            return Err(FATAL.into());
        }
        let starts = self.commands(Step::Start).len();
        let oneshot = self.kind == ServiceType::Oneshot;
        if starts == 0 && self.commands(Step::Stop).is_empty() && !has_success_action(section) {
            return Err("Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.".into());
        }
        if starts == 0 && !oneshot {
            return Err("Service has no ExecStart= setting, which is only allowed for Type=oneshot services. Refusing.".into());
        }
        if starts == 0 && !self.remain_after_exit && !has_success_action(section) {
            return Err("Service has no ExecStart= and no SuccessAction= settings and does not have RemainAfterExit=yes set. Refusing.".into());
        }
        if starts > 1 && !oneshot {
            return Err("Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing.".into());
        }
        if oneshot && matches!(self.restart, Restart::Always | Restart::OnSuccess) {
            return Err("Service has Restart= set to either always or on-success, which isn't allowed for Type=oneshot services. Refusing.".into());
        }
        Ok(())
    }
}

fn has_success_action(section: &Section<'_>) -> bool {
    section.file.last("Unit", "SuccessAction").is_some_and(|action| !action.is_empty() && action != "none")
}

fn below_runtime(path: String, options: &Options) -> String {
    if path.starts_with('/') { path } else { options.runtime_dir.join(path).display().to_string() }
}

/// # Errors
/// One of them is wrong, and its failure would not be ignored.
fn read_commands(section: &Section<'_>, key: &str) -> Result<Vec<ExecCommand>, String> {
    let mut found = Vec::new();
    for value in section.file.values(section.name, key) {
        if value.is_empty() {
            found.clear();
            continue;
        }
        match parse_exec(value, &|text| section.expand(text)) {
            Ok(commands) => found.extend(commands),
            Err(error) if error.is_fatal => {
                section.warnings.borrow_mut().push(format!("{}: {error}", section.unit));
                return Err(FATAL.into());
            }
            Err(error) => section.warnings.borrow_mut().push(format!("{}: {error}, ignoring", section.unit)),
        }
    }
    Ok(found)
}

/// `TimeoutSec=` sets both; whichever of the two comes last in the file counts.
fn timeout(section: &Section<'_>, key: &str, default: Option<Duration>) -> Option<Duration> {
    let last = section.file.assignments.iter().rfind(|a| {
        a.section == section.name && (a.key == key || a.key == "TimeoutSec") && !a.value.is_empty()
    });
    match last {
        Some(assignment) => section.limit(&assignment.key, default),
        None => default,
    }
}

fn timeout_start(section: &Section<'_>, kind: ServiceType, options: &Options) -> Option<Duration> {
    let default = (kind != ServiceType::Oneshot).then_some(options.timeout_start);
    timeout(section, "TimeoutStartSec", default)
}

fn notify_access(section: &Section<'_>, kind: ServiceType) -> NotifyAccess {
    let explicit = section.parsed("NotifyAccess", |text| match text {
        "none" => Some(NotifyAccess::None),
        "main" => Some(NotifyAccess::Main),
        "exec" => Some(NotifyAccess::Exec),
        "all" => Some(NotifyAccess::All),
        _ => None,
    });
    let watched = section.limit("WatchdogSec", None).is_some();
    match explicit.unwrap_or_default() {
        NotifyAccess::None if kind == ServiceType::Notify || watched => NotifyAccess::Main,
        access => access,
    }
}

fn exit_statuses(section: &Section<'_>, key: &str) -> ExitStatusSet {
    let mut set = ExitStatusSet::default();
    for word in section.words(key) {
        if let Ok(code) = word.parse::<u8>() {
            set.codes.insert(code.into());
        } else if let Some(signal) = unit_file::signal_from_name(&word) {
            set.signals.insert(signal);
        } else if let Some(code) = crate::exit::code_from_name(&word) {
            set.codes.insert(code);
        } else {
            section.warn(key, &word);
        }
    }
    set
}
