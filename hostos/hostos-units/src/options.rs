//! Where a supervisor finds its units and leaves its traces. [`Options::system`] is a machine's;
//! [`Options::below`] keeps everything under one folder, for tests and for trying units out.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of a supervisor.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folders of unit files, first found wins; drop-ins are looked up in all.
    pub unit_dirs: Vec<PathBuf>,
    /// Folder for links of `enable` (the first of `unit_dirs` on a machine).
    pub persistent_dir: PathBuf,
    /// Folder for submitted units and links of `enable --runtime`.
    pub transient_dir: PathBuf,
    /// Folders of `*.preset` files, first found of a name wins.
    pub preset_dirs: Vec<PathBuf>,
    /// `%t`, where `RuntimeDirectory=` goes.
    pub runtime_dir: PathBuf,
    /// `%S`, where `StateDirectory=` goes.
    pub state_dir: PathBuf,
    /// `%C`, where `CacheDirectory=` goes.
    pub cache_dir: PathBuf,
    /// `%L`, where `LogsDirectory=` goes.
    pub logs_dir: PathBuf,
    /// `%E`, where `ConfigurationDirectory=` goes.
    pub config_dir: PathBuf,
    /// Control socket.
    pub control_socket: PathBuf,
    /// Groups whose members may change units, beside root. Everybody may look.
    pub admin_groups: Vec<String>,
    /// Socket of syslog(3), if messages that come there are wanted.
    pub syslog_socket: Option<PathBuf>,
    /// Socket of `sd_notify`.
    pub notify_socket: PathBuf,
    /// cgroup v2 folder to put `system.slice` into; without one, processes are tracked by their
    /// group only and limits are not applied.
    pub cgroup_root: Option<PathBuf>,
    /// Folder of the journal; without one nothing is kept.
    pub journal_dir: Option<PathBuf>,
    /// Most bytes the journal may take.
    pub journal_max: u64,
    /// Copy kernel messages into the journal.
    pub kernel_log: bool,
    /// Copy warnings and state changes to this terminal.
    pub console: Option<PathBuf>,
    /// The process is PID 1: it reaps everything and must not return before shutdown.
    pub pid1: bool,
    /// Environment every process gets.
    pub environment: Vec<(String, String)>,
    /// `TimeoutStartSec=` where a unit says nothing.
    pub timeout_start: Duration,
    /// `TimeoutStopSec=` where a unit says nothing.
    pub timeout_stop: Duration,
    /// Longest time a shutdown takes before what is left is killed.
    pub shutdown_deadline: Duration,
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Options {
    /// A machine's own supervisor.
    #[must_use]
    pub fn system() -> Self {
        let dirs = [
            "/etc/systemd/system",
            "/run/systemd/system",
            "/usr/local/lib/systemd/system",
            "/usr/lib/systemd/system",
            "/lib/systemd/system",
        ];
        let presets =
            ["/etc/systemd/system-preset", "/run/systemd/system-preset", "/usr/lib/systemd/system-preset"];
        Self {
            unit_dirs: dirs.map(PathBuf::from).to_vec(),
            persistent_dir: "/etc/systemd/system".into(),
            transient_dir: "/run/systemd/system".into(),
            preset_dirs: presets.map(PathBuf::from).to_vec(),
            runtime_dir: "/run".into(),
            state_dir: "/var/lib".into(),
            cache_dir: "/var/cache".into(),
            logs_dir: "/var/log".into(),
            config_dir: "/etc".into(),
            control_socket: units_api::SOCKET.into(),
            // User core's own; who is in it is in group docker too, which is as good as root.
            admin_groups: vec!["core".into()],
            syslog_socket: Some("/dev/log".into()),
            notify_socket: "/run/systemd/notify".into(),
            cgroup_root: Some("/sys/fs/cgroup".into()),
            journal_dir: Some("/var/log/journal".into()),
            journal_max: 64 << 20,
            kernel_log: true,
            console: None,
            pid1: true,
            environment: vec![("PATH".into(), PATH.into()), ("LANG".into(), "C.UTF-8".into())],
            timeout_start: Duration::from_secs(90),
            timeout_stop: Duration::from_secs(90),
            shutdown_deadline: Duration::from_secs(10),
        }
    }

    /// Everything below one folder: `units/`, `run/`, `lib/`, `cache/`, `log/`, `etc/`; no cgroups.
    #[must_use]
    pub fn below(dir: &Path) -> Self {
        Self {
            unit_dirs: vec![dir.join("units"), dir.join("run/units")],
            persistent_dir: dir.join("units"),
            transient_dir: dir.join("run/units"),
            preset_dirs: vec![dir.join("presets")],
            runtime_dir: dir.join("run"),
            state_dir: dir.join("lib"),
            cache_dir: dir.join("cache"),
            logs_dir: dir.join("log"),
            config_dir: dir.join("etc"),
            control_socket: dir.join("run/units.sock"),
            syslog_socket: None,
            notify_socket: dir.join("run/notify"),
            cgroup_root: None,
            journal_dir: Some(dir.join("log/journal")),
            journal_max: 8 << 20,
            kernel_log: false,
            pid1: false,
            ..Self::system()
        }
    }
}
