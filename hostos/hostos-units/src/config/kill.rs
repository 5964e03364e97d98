//! How processes are stopped: `KillMode=` and signals.

use super::Section;

/// Whom the stop signal reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KillMode {
    /// All processes of the unit.
    #[default]
    ControlGroup,
    /// The main process first, later SIGKILL to all.
    Mixed,
    /// Only the main process.
    Process,
    /// Nobody.
    None,
}

impl KillMode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ControlGroup => "control-group",
            Self::Mixed => "mixed",
            Self::Process => "process",
            Self::None => "none",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct KillConfig {
    pub(crate) mode: KillMode,
    pub(crate) signal: i32,
    pub(crate) restart_signal: i32,
    pub(crate) final_signal: i32,
    pub(crate) send_sigkill: bool,
    pub(crate) send_sighup: bool,
}

impl KillConfig {
    pub(crate) fn parse(section: &Section<'_>) -> Self {
        let mode = section.parsed("KillMode", |text| {
            [KillMode::ControlGroup, KillMode::Mixed, KillMode::Process, KillMode::None]
                .into_iter()
                .find(|mode| mode.name() == text)
        });
        let signal = section.parsed("KillSignal", unit_file::signal_from_name).unwrap_or(libc::SIGTERM);
        Self {
            mode: mode.unwrap_or_default(),
            signal,
            restart_signal: section
                .parsed("RestartKillSignal", unit_file::signal_from_name)
                .unwrap_or(signal),
            final_signal: section
                .parsed("FinalKillSignal", unit_file::signal_from_name)
                .unwrap_or(libc::SIGKILL),
            send_sigkill: section.flag("SendSIGKILL", true),
            send_sighup: section.flag("SendSIGHUP", false),
        }
    }
}
