//! The wire between the unit supervisor and its clients (`systemctl`, `journalctl`, fleetd): JSON
//! lines on the unix socket [`SOCKET`]. Everybody may ask; only root and administrators may change things.
//!
//! A client writes one [`Request`] a line; the supervisor answers each with one [`Answer`] of the
//! same `id`, in any order. After [`Method::Subscribe`] lines with an [`Answer::Event`] come at any
//! time; they carry no `id`. Unknown fields are ignored by both sides, an unknown method is answered
//! with an error of kind [`ErrorKind::BadRequest`]. A line has at most [`LONGEST_LINE`] bytes.
//!
//! ```text
//! > {"id":1,"method":"start","units":["web.service"],"wait":true}
//! < {"id":1,"jobs":[{"unit":"web.service","result":"done"}]}
//! > {"id":2,"method":"status","units":["web.service"]}
//! < {"id":2,"units":[{"name":"web.service","load":"loaded","active":"active","sub":"running",…}]}
//! > {"id":3,"method":"subscribe"}
//! < {"id":3,"ok":true}
//! < {"event":{"name":"web.service","load":"loaded","active":"failed","sub":"failed",…}}
//! ```
//!
//! The blocking [`Client`] is std only; an async client reads and writes the same types.

mod client;

pub use client::{Client, ClientError};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the supervisor of a machine listens.
pub const SOCKET: &str = "/run/units.sock";

/// Longest line either side accepts, in bytes.
pub const LONGEST_LINE: usize = 4 * 1024 * 1024;

/// One line from a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, comes back in the answer.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub method: Method,
}

/// How new jobs deal with queued ones that contradict them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobMode {
    /// New jobs replace contradicting queued ones.
    #[default]
    Replace,
    /// Fail when a queued job contradicts.
    Fail,
    /// As replace, and stop every unit that is not needed by this one.
    Isolate,
    /// Leave dependencies alone, keep their order.
    IgnoreDependencies,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Method {
    /// Answers `ok`: the supervisor lives.
    Ping,
    /// Queue jobs; answers `jobs`. `wait`: only when they have ended.
    Start(JobRequest),
    /// See [`Method::Start`].
    Stop(JobRequest),
    /// Stop, then start; starts what does not run.
    Restart(JobRequest),
    /// Restart only what runs.
    TryRestart(JobRequest),
    /// Run `ExecReload=`.
    Reload(JobRequest),
    /// Reload what can be, restart the rest.
    ReloadOrRestart(JobRequest),
    /// Send a signal to the processes of units; answers `ok`.
    Kill {
        /// Unit names.
        units: Vec<String>,
        /// Number of the signal.
        signal: i32,
        /// `main`, `control` or `all`.
        #[serde(default = "all")]
        whom: String,
    },
    /// Forget failures and start counters; no names: of all units. Answers `ok`.
    ResetFailed {
        /// Unit names.
        #[serde(default)]
        units: Vec<String>,
    },
    /// Write a unit file below /run (and load it); answers `ok`. What runs is not touched.
    Submit {
        /// Unit name.
        unit: String,
        /// Text of the file.
        text: String,
    },
    /// Remove a unit file that [`Method::Submit`] wrote; answers `ok`. A unit that runs stays until
    /// it is stopped.
    Remove {
        /// Unit name.
        unit: String,
    },
    /// State of units, loading those that are not yet; answers `units`.
    Status {
        /// Unit names; globs match loaded units.
        units: Vec<String>,
    },
    /// State of all loaded units; answers `units`.
    List,
    /// Properties of one unit in systemd's words; answers `properties`.
    Show {
        /// Unit name; empty for the manager's own.
        unit: String,
    },
    /// Path and text of a unit's file and drop-ins; answers `files`.
    Cat {
        /// Unit name.
        unit: String,
    },
    /// Files that could be loaded and whether they are enabled; answers `unit_files`.
    ListFiles,
    /// Queued jobs; answers `jobs`.
    ListJobs,
    /// Timers; answers `timers`.
    ListTimers,
    /// Make the links of `[Install]`; answers `changes`.
    Enable(InstallRequest),
    /// Remove the links of `[Install]`; answers `changes`.
    Disable(InstallRequest),
    /// Link to /dev/null; answers `changes`.
    Mask(InstallRequest),
    /// Undo [`Method::Mask`]; answers `changes`.
    Unmask(InstallRequest),
    /// Read all unit files again; answers `ok`.
    DaemonReload,
    /// Set variables in the environment of units; answers `ok`.
    SetEnvironment {
        /// Variables to set.
        set: BTreeMap<String, String>,
        /// Variables to forget.
        #[serde(default)]
        unset: Vec<String>,
    },
    /// The environment units get; answers `properties`.
    ShowEnvironment,
    /// From now on send an event for each change; answers `ok`.
    Subscribe,
    /// Stop everything and leave: `poweroff`, `reboot`, `halt`, `kexec` or `exit`. Answers `ok`.
    Shutdown {
        /// What comes after.
        action: ShutdownAction,
        /// Who asked and why, for the log.
        #[serde(default)]
        reason: String,
    },
}

fn all() -> String {
    "all".into()
}

/// Units and how to queue jobs for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequest {
    /// Unit names; for all but start, globs match loaded units.
    pub units: Vec<String>,
    /// What to do about contradicting jobs.
    #[serde(default)]
    pub mode: JobMode,
    /// Answer only when the jobs have ended.
    #[serde(default)]
    pub wait: bool,
}

/// Unit files to enable and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRequest {
    /// Unit names.
    pub units: Vec<String>,
    /// Only until the next boot.
    #[serde(default)]
    pub runtime: bool,
}

/// What comes after all units have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownAction {
    /// Power off.
    Poweroff,
    /// Boot again.
    Reboot,
    /// Stop the processor.
    Halt,
    /// Start the loaded kernel.
    Kexec,
    /// Only end the supervisor.
    Exit,
}

/// One line from the supervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the request; 0 for events.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: u64,
    /// The request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
    /// Done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ok: bool,
    /// States of units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<UnitState>>,
    /// Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Vec<JobState>>,
    /// Properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, String>>,
    /// Files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<FileText>>,
    /// Unit files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_files: Option<Vec<UnitFileState>>,
    /// Timers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timers: Option<Vec<TimerState>>,
    /// Lines that say what was changed on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<String>>,
    /// A unit changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<UnitState>,
}

fn is_zero(id: &u64) -> bool {
    *id == 0
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// Stable kind.
    pub kind: ErrorKind,
    /// One sentence.
    pub message: String,
}

/// Kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The line is no request.
    BadRequest,
    /// No such unit.
    NotFound,
    /// The unit is masked.
    Masked,
    /// The unit's file cannot be used.
    BadUnit,
    /// The jobs contradict each other or queued ones.
    Conflict,
    /// A name is no unit name, or a template where an instance is needed.
    BadName,
    /// The unit cannot do that (reload without `ExecReload=`, …).
    NotApplicable,
    /// The machine goes down.
    ShuttingDown,
    /// Reading or writing files failed.
    Io,
    /// Whoever asks may not do that.
    AccessDenied,
    /// A kind this version does not know.
    #[serde(other)]
    Other,
}

/// State of one unit, in systemd's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitState {
    /// Full name.
    pub name: String,
    /// `Description=`, or the name.
    pub description: String,
    /// `loaded`, `not-found`, `bad-setting`, `error`, `masked`.
    pub load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// `running`, `exited`, `dead`, `auto-restart`, …
    pub sub: String,
    /// Type of a queued job, or empty.
    pub job: String,
    /// `success`, `exit-code`, `signal`, `timeout`, `start-limit-hit`, …
    pub result: String,
    /// Process id of the main process, or 0.
    pub main_pid: i32,
    /// Exit status of the last main process: a code, or the number of the signal.
    pub exit_status: i32,
    /// `exited`, `killed`, `dumped` or empty.
    pub exit_code: String,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// Path of its file, or empty.
    pub fragment: String,
    /// `enabled`, `disabled`, `static`, `masked`, … or empty.
    pub file_state: String,
    /// Microseconds since 1970 at which `active` last changed; 0 if never.
    pub changed: u64,
    /// 32 hexadecimal digits, new for each start; or empty.
    pub invocation: String,
}

/// A job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobState {
    /// Number.
    pub job: u32,
    /// Unit it is for.
    pub unit: String,
    /// `start`, `stop`, `restart`, `reload`, …
    pub kind: String,
    /// `waiting`, `running`, or, when it has ended, empty.
    pub state: String,
    /// `done`, `canceled`, `timeout`, `failed`, `dependency`, `skipped`, `invalid`, `assert`; empty while queued.
    pub result: String,
}

/// A file and its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileText {
    /// Absolute path.
    pub path: String,
    /// Text.
    pub text: String,
}

/// A unit file on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFileState {
    /// Unit name.
    pub name: String,
    /// `enabled`, `enabled-runtime`, `disabled`, `static`, `indirect`, `masked`, `masked-runtime`, `alias`.
    pub state: String,
    /// `enabled`, `disabled` or empty.
    pub preset: String,
}

/// A timer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimerState {
    /// Name of the timer.
    pub unit: String,
    /// What it starts.
    pub activates: String,
    /// Microseconds since 1970 of the next elapse; 0 if none.
    pub next: u64,
    /// Microseconds since 1970 of the last; 0 if none.
    pub last: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_on_the_wire_stay() {
        let line = r#"{"id":1,"method":"start","units":["web.service"],"mode":"replace","wait":true}"#;
        let request: Request = serde_json::from_str(line).expect("a request");
        assert_eq!(serde_json::to_string(&request).expect("plain"), line);
        let short: Request =
            serde_json::from_str(r#"{"id":2,"method":"stop","units":["a"]}"#).expect("defaults");
        assert!(matches!(short.method, Method::Stop(JobRequest { wait: false, .. })));
        let answer = Answer { id: 3, ok: true, ..Answer::default() };
        assert_eq!(serde_json::to_string(&answer).expect("plain"), r#"{"id":3,"ok":true}"#);
        let future: WireError = serde_json::from_str(r#"{"kind":"new","message":"m"}"#).expect("known shape");
        assert_eq!(future.kind, ErrorKind::Other);
    }
}
