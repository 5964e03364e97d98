//! The words for states, as systemd has them.

/// Whether a unit's file could be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadState {
    /// Named by someone, not read yet.
    Stub,
    Loaded,
    NotFound,
    BadSetting,
    Error,
    Masked,
}

impl LoadState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stub => "stub",
            Self::Loaded => "loaded",
            Self::NotFound => "not-found",
            Self::BadSetting => "bad-setting",
            Self::Error => "error",
            Self::Masked => "masked",
        }
    }
}

/// The state that is the same for all kinds of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActiveState {
    Active,
    Reloading,
    Inactive,
    Failed,
    Activating,
    Deactivating,
}

impl ActiveState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
        }
    }

    pub(crate) const fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::Reloading)
    }

    pub(crate) const fn is_active_or_activating(self) -> bool {
        matches!(self, Self::Active | Self::Reloading | Self::Activating)
    }

    pub(crate) const fn is_down(self) -> bool {
        matches!(self, Self::Inactive | Self::Failed)
    }
}

/// The steps in the life of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceState {
    Dead,
    Condition,
    StartPre,
    Start,
    StartPost,
    Running,
    Exited,
    Reload,
    Stop,
    StopSigterm,
    StopSigkill,
    StopPost,
    FinalSigterm,
    FinalSigkill,
    Failed,
    AutoRestart,
    StopWatchdog,
}

impl ServiceState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Condition => "condition",
            Self::StartPre => "start-pre",
            Self::Start => "start",
            Self::StartPost => "start-post",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Reload => "reload",
            Self::Stop => "stop",
            Self::StopSigterm => "stop-sigterm",
            Self::StopSigkill => "stop-sigkill",
            Self::StopPost => "stop-post",
            Self::FinalSigterm => "final-sigterm",
            Self::FinalSigkill => "final-sigkill",
            Self::Failed => "failed",
            Self::AutoRestart => "auto-restart",
            Self::StopWatchdog => "stop-watchdog",
        }
    }

    /// The general state; a service of type idle is active from its start on.
    pub(crate) const fn active(self, idle: bool) -> ActiveState {
        match self {
            Self::Dead => ActiveState::Inactive,
            Self::Start | Self::StartPost if idle => ActiveState::Active,
            Self::Condition | Self::StartPre | Self::Start | Self::StartPost | Self::AutoRestart => {
                ActiveState::Activating
            }
            Self::Running | Self::Exited => ActiveState::Active,
            Self::Reload => ActiveState::Reloading,
            Self::Stop
            | Self::StopWatchdog
            | Self::StopSigterm
            | Self::StopSigkill
            | Self::StopPost
            | Self::FinalSigterm
            | Self::FinalSigkill => ActiveState::Deactivating,
            Self::Failed => ActiveState::Failed,
        }
    }

    /// Is it going down for good or for a restart?
    pub(crate) const fn is_stopping(self) -> bool {
        matches!(self.active(false), ActiveState::Deactivating)
    }
}

/// Why a service is no longer (or was not) well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ServiceResult {
    #[default]
    Success,
    Resources,
    Protocol,
    Timeout,
    ExitCode,
    Signal,
    CoreDump,
    Watchdog,
    StartLimitHit,
    OomKill,
    SkipCondition,
}

impl ServiceResult {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Resources => "resources",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::ExitCode => "exit-code",
            Self::Signal => "signal",
            Self::CoreDump => "core-dump",
            Self::Watchdog => "watchdog",
            Self::StartLimitHit => "start-limit-hit",
            Self::OomKill => "oom-kill",
            Self::SkipCondition => "exec-condition",
        }
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobKind {
    Start,
    VerifyActive,
    Stop,
    Reload,
    Restart,
    /// Restart what is active; decided when the job is queued.
    TryRestart,
    /// Reload what is active, start the rest; decided when the job is queued.
    ReloadOrStart,
}

impl JobKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::VerifyActive => "verify-active",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::TryRestart => "try-restart",
            Self::ReloadOrStart => "reload-or-start",
        }
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobResult {
    Done,
    Canceled,
    Timeout,
    Failed,
    Dependency,
    Skipped,
    Invalid,
    Assert,
}

impl JobResult {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Dependency => "dependency",
            Self::Skipped => "skipped",
            Self::Invalid => "invalid",
            Self::Assert => "assert",
        }
    }
}
