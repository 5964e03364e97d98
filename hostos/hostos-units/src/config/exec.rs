//! The environment a process of a unit runs in.

use std::path::PathBuf;
use std::time::Duration;

use unit_file::{TimeSpan, parse_bool, parse_size, parse_span};

use super::Section;

/// Where standard input comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Input {
    #[default]
    Null,
    Tty,
    Data(Vec<u8>),
    File(PathBuf),
    Socket,
}

/// Where standard output or error goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Output {
    /// Standard error: as output. Standard output: as input, if that is a terminal or socket.
    Inherit,
    Null,
    #[default]
    Journal,
    JournalAndConsole,
    Kmsg,
    Tty,
    File(PathBuf),
    Append(PathBuf),
    Truncate(PathBuf),
    Socket,
}

impl Output {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "inherit" => Self::Inherit,
            "null" => Self::Null,
            "journal" | "syslog" => Self::Journal,
            "journal+console" | "syslog+console" => Self::JournalAndConsole,
            "kmsg" => Self::Kmsg,
            "kmsg+console" => Self::JournalAndConsole,
            "tty" => Self::Tty,
            "socket" => Self::Socket,
            _ => {
                let (kind, path) = text.split_once(':')?;
                let path = PathBuf::from(path).is_absolute().then(|| PathBuf::from(path))?;
                match kind {
                    "file" => Self::File(path),
                    "append" => Self::Append(path),
                    "truncate" => Self::Truncate(path),
                    _ => return None,
                }
            }
        })
    }
}

/// What a mount namespace of its own hides or protects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sandbox {
    pub(crate) private_tmp: bool,
    pub(crate) private_network: bool,
    pub(crate) private_devices: bool,
    /// Paths to make read-only, deepest rules last.
    pub(crate) read_only: Vec<(String, bool)>,
    pub(crate) read_write: Vec<(String, bool)>,
    pub(crate) inaccessible: Vec<(String, bool)>,
    /// Source, destination, read-only, may be missing.
    pub(crate) binds: Vec<(String, String, bool, bool)>,
    pub(crate) mount_api: bool,
}

impl Sandbox {
    pub(crate) fn needs_mounts(&self) -> bool {
        *self != Self { private_network: self.private_network, mount_api: self.mount_api, ..Self::default() }
    }
}

/// `RuntimeDirectory=` and its like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directories {
    pub(crate) names: Vec<String>,
    pub(crate) mode: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ExecConfig {
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) supplementary_groups: Vec<String>,
    pub(crate) dynamic_user: bool,
    /// The folder and whether it may be missing; `~` is the user's home.
    pub(crate) working_directory: Option<(String, bool)>,
    pub(crate) root_directory: Option<PathBuf>,
    pub(crate) environment: Vec<(String, String)>,
    /// Path and whether it may be missing.
    pub(crate) environment_files: Vec<(String, bool)>,
    pub(crate) pass_environment: Vec<String>,
    pub(crate) unset_environment: Vec<String>,
    pub(crate) umask: u32,
    pub(crate) nice: Option<i32>,
    pub(crate) oom_score_adjust: Option<i32>,
    pub(crate) io_priority: Option<i32>,
    pub(crate) limits: Vec<(u32, u64, u64)>,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) error: Output,
    pub(crate) tty: PathBuf,
    pub(crate) identifier: Option<String>,
    pub(crate) log_level: u8,
    pub(crate) ignore_sigpipe: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) bounding_set: Option<u64>,
    pub(crate) ambient: u64,
    pub(crate) sandbox: Sandbox,
    pub(crate) runtime: Directories,
    pub(crate) state: Directories,
    pub(crate) cache: Directories,
    pub(crate) logs: Directories,
    pub(crate) configuration: Directories,
    pub(crate) keep_runtime: bool,
}

const LIMITS: [(&str, u32); 16] = [
    ("LimitCPU", libc::RLIMIT_CPU),
    ("LimitFSIZE", libc::RLIMIT_FSIZE),
    ("LimitDATA", libc::RLIMIT_DATA),
    ("LimitSTACK", libc::RLIMIT_STACK),
    ("LimitCORE", libc::RLIMIT_CORE),
    ("LimitRSS", libc::RLIMIT_RSS),
    ("LimitNOFILE", libc::RLIMIT_NOFILE),
    ("LimitAS", libc::RLIMIT_AS),
    ("LimitNPROC", libc::RLIMIT_NPROC),
    ("LimitMEMLOCK", libc::RLIMIT_MEMLOCK),
    ("LimitLOCKS", libc::RLIMIT_LOCKS),
    ("LimitSIGPENDING", libc::RLIMIT_SIGPENDING),
    ("LimitMSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("LimitNICE", libc::RLIMIT_NICE),
    ("LimitRTPRIO", libc::RLIMIT_RTPRIO),
    ("LimitRTTIME", libc::RLIMIT_RTTIME),
];

impl ExecConfig {
    pub(crate) fn parse(section: &Section<'_>) -> Self {
        let octal = |text: &str| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        let directories = |key: &str| Directories {
            names: section.parsed_words(key, |name| Some(name.to_owned()).filter(|name| inside(name))),
            mode: section.parsed(&format!("{key}Mode"), octal).unwrap_or(0o755),
        };
        let within = |text: &str, low: i32, high: i32| {
            text.parse::<i32>().ok().filter(|value| (low..=high).contains(value))
        };
        Self {
            user: section.text("User"),
            group: section.text("Group"),
            supplementary_groups: section.words("SupplementaryGroups"),
            dynamic_user: section.flag("DynamicUser", false),
            working_directory: section.parsed("WorkingDirectory", working_directory),
            root_directory: section.text("RootDirectory").map(PathBuf::from),
            environment: environment(section),
            environment_files: environment_files(section),
            pass_environment: section.parsed_words("PassEnvironment", |name| {
                Some(name.to_owned()).filter(|name| unit_file::valid_variable_name(name))
            }),
            unset_environment: section.words("UnsetEnvironment"),
            umask: section.parsed("UMask", octal).unwrap_or(0o022),
            nice: section.parsed("Nice", |text| within(text, -20, 19)),
            oom_score_adjust: section.parsed("OOMScoreAdjust", |text| within(text, -1000, 1000)),
            io_priority: io_priority(section),
            limits: limits(section),
            input: input(section),
            output: section.parsed("StandardOutput", Output::parse).unwrap_or(Output::Journal),
            error: section.parsed("StandardError", Output::parse).unwrap_or(Output::Inherit),
            tty: section.text("TTYPath").map_or_else(|| "/dev/console".into(), PathBuf::from),
            identifier: section.text("SyslogIdentifier"),
            log_level: section.parsed("SyslogLevel", level).unwrap_or(6),
            ignore_sigpipe: section.flag("IgnoreSIGPIPE", true),
            no_new_privileges: section.flag("NoNewPrivileges", false),
            bounding_set: crate::capability::parse_set(section, "CapabilityBoundingSet"),
            ambient: crate::capability::parse_set(section, "AmbientCapabilities").unwrap_or(0),
            sandbox: sandbox(section),
            runtime: directories("RuntimeDirectory"),
            state: directories("StateDirectory"),
            cache: directories("CacheDirectory"),
            logs: directories("LogsDirectory"),
            configuration: directories("ConfigurationDirectory"),
            keep_runtime: section.parsed("RuntimeDirectoryPreserve", kept).unwrap_or(false),
        }
    }
}

/// A relative path that stays below its folder.
fn inside(name: &str) -> bool {
    !name.starts_with('/') && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// `-` before a relative path has it ignored; alone it is [`ExecConfig::fatal`].
fn working_directory(text: &str) -> Option<(String, bool)> {
    let (path, missing) = optional(text);
    let known = path.starts_with('/') || path == "~";
    (known || !missing).then_some((path, missing))
}

fn environment_files(section: &Section<'_>) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for text in section.list("EnvironmentFile") {
        let (path, missing) = optional(&text);
        if path.starts_with('/') {
            found.push((path, missing));
        } else {
            section.warn("EnvironmentFile", &text);
        }
    }
    found
}

fn kept(text: &str) -> Option<bool> {
    if text == "restart" { Some(true) } else { parse_bool(text) }
}

impl ExecConfig {
    /// What a unit is not started for, rather than without it.
    pub(crate) fn fatal(&self) -> Option<String> {
        let names = [&self.user, &self.group].into_iter().flatten();
        if let Some(name) = names.into_iter().find(|name| !could_be_a_name(name)) {
            return Some(format!("Invalid user/group name or numeric ID: {name}"));
        }
        let working = self.working_directory.as_ref().map(|(path, _)| path.as_str());
        if let Some(path) = working.filter(|path| !path.starts_with('/') && *path != "~") {
            return Some(format!("WorkingDirectory= path is not absolute: {path}"));
        }
        let root = self.root_directory.as_ref().filter(|path| !path.is_absolute());
        root.map(|path| format!("RootDirectory= path is not absolute: {}", path.display()))
    }
}

/// Of a user or a group, by systemd's relaxed rules.
fn could_be_a_name(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, ':' | '/');
    !matches!(name, "." | "..") && !name.contains(odd) && name.trim() == name
}

/// The text without a leading `-`, and whether it had one.
fn optional(text: &str) -> (String, bool) {
    text.strip_prefix('-').map_or((text.to_owned(), false), |rest| (rest.to_owned(), true))
}

/// Specifiers are replaced in each assignment, so a value cannot break out of its quotes.
fn environment(section: &Section<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for value in section.file.list(section.name, "Environment") {
        let Ok(words) = unit_file::split_words(value) else {
            section.warn("Environment", value);
            continue;
        };
        for word in words {
            match word.split_once('=').filter(|(name, _)| unit_file::valid_variable_name(name)) {
                Some((name, value)) => {
                    found.retain(|(known, _)| known != name);
                    found.push((name.to_owned(), section.expand(value)));
                }
                None => section.warn("Environment", &word),
            }
        }
    }
    found
}

fn input(section: &Section<'_>) -> Input {
    let data = section.list("StandardInputText");
    let read = |text: &str| match text {
        "null" => Some(Input::Null),
        "tty" | "tty-force" | "tty-fail" => Some(Input::Tty),
        "socket" => Some(Input::Socket),
        "data" => Some(Input::Data(data.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect())),
        _ => text.strip_prefix("file:").map(|path| Input::File(path.into())),
    };
    let default = if data.is_empty() { "null" } else { "data" };
    section.parsed("StandardInput", read).or_else(|| read(default)).unwrap_or_default()
}

fn level(text: &str) -> Option<u8> {
    const NAMES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let by_name = NAMES.iter().position(|name| *name == text).and_then(|index| u8::try_from(index).ok());
    by_name.or_else(|| text.parse().ok().filter(|level| *level < 8))
}

fn io_priority(section: &Section<'_>) -> Option<i32> {
    let class = section.parsed("IOSchedulingClass", |text| match text {
        "none" | "0" => Some(0),
        "realtime" | "1" => Some(1),
        "best-effort" | "2" => Some(2),
        "idle" | "3" => Some(3),
        _ => None,
    });
    let level = section.parsed("IOSchedulingPriority", |text| {
        text.parse::<i32>().ok().filter(|level| (0..8).contains(level))
    });
    (class.is_some() || level.is_some()).then(|| (class.unwrap_or(2) << 13) | level.unwrap_or(4))
}

/// One side of a limit, in the unit of its resource: seconds, microseconds, bytes or just a number.
fn limit(resource: u32, text: &str) -> Option<u64> {
    let micros = |unit| match parse_span(text, unit)? {
        TimeSpan::Finite(span) => u64::try_from(span.as_micros()).ok(),
        TimeSpan::Infinite => Some(libc::RLIM_INFINITY),
    };
    let signed = |digits: &str| digits.parse::<u64>().ok();
    match resource {
        _ if text == "infinity" => Some(libc::RLIM_INFINITY),
        libc::RLIMIT_CPU => micros(Duration::from_secs(1)).map(|micros| micros.div_ceil(1_000_000)),
        libc::RLIMIT_RTTIME => micros(Duration::from_micros(1)),
        // Of a nice level, or as the kernel counts: 1 for level 19, 40 for -20.
        libc::RLIMIT_NICE => match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(level), _) => signed(level).filter(|level| *level < 20).map(|level| 20 - level),
            (_, Some(level)) => signed(level).filter(|level| *level <= 20).map(|level| 20 + level),
            _ => signed(text).filter(|value| *value <= 40),
        },
        libc::RLIMIT_NOFILE
        | libc::RLIMIT_NPROC
        | libc::RLIMIT_LOCKS
        | libc::RLIMIT_SIGPENDING
        | libc::RLIMIT_RTPRIO => text.parse().ok(),
        _ => parse_size(text),
    }
}

fn limits(section: &Section<'_>) -> Vec<(u32, u64, u64)> {
    let mut found = Vec::new();
    for (key, resource) in LIMITS {
        let one = |text: &str| limit(resource, text);
        let both = |text: &str| match text.split_once(':') {
            Some((soft, hard)) => one(soft).zip(one(hard)).filter(|(soft, hard)| soft <= hard),
            None => one(text).map(|limit| (limit, limit)),
        };
        found.extend(section.parsed(key, both).map(|(soft, hard)| (resource, soft, hard)));
    }
    found
}

fn sandbox(section: &Section<'_>) -> Sandbox {
    let path = |word: &str| {
        let (path, missing) = optional(word);
        // `+` means below RootDirectory=, which is where all paths are here.
        let path = path.strip_prefix('+').map_or(path.clone(), str::to_owned);
        path.starts_with('/').then_some((path, missing))
    };
    let paths = |keys: [&str; 2]| -> Vec<(String, bool)> {
        keys.into_iter().flat_map(|key| section.parsed_words(key, path)).collect()
    };
    let mut sandbox = Sandbox {
        private_tmp: section.flag("PrivateTmp", false) || section.flag("DynamicUser", false),
        private_network: section.flag("PrivateNetwork", false),
        private_devices: section.flag("PrivateDevices", false),
        read_only: paths(["ReadOnlyPaths", "ReadOnlyDirectories"]),
        read_write: paths(["ReadWritePaths", "ReadWriteDirectories"]),
        inaccessible: paths(["InaccessiblePaths", "InaccessibleDirectories"]),
        binds: Vec::new(),
        mount_api: section.flag("MountAPIVFS", false),
    };
    sandbox.protect(section);
    for (key, read_only) in [("BindPaths", false), ("BindReadOnlyPaths", true)] {
        for word in section.words(key) {
            let (word, missing) = optional(&word);
            let (from, to) = word.split_once(':').unwrap_or((&word, &word));
            let to = to.split(':').next().unwrap_or_default();
            if !from.starts_with('/') || !to.starts_with('/') {
                section.warn(key, &word);
                continue;
            }
            sandbox.binds.push((from.to_owned(), to.to_owned(), read_only, missing));
        }
    }
    sandbox
}

impl Sandbox {
    fn protect(&mut self, section: &Section<'_>) {
        let dynamic = section.flag("DynamicUser", false);
        let mut read_only = |paths: &[&str]| {
            self.read_only.extend(paths.iter().map(|path| ((*path).to_owned(), true)));
        };
        match section.text("ProtectSystem").as_deref() {
            Some("strict") => read_only(&["/"]),
            None if dynamic => read_only(&["/"]),
            Some("full") => read_only(&["/usr", "/boot", "/efi", "/etc"]),
            Some(text) if parse_bool(text) == Some(true) => read_only(&["/usr", "/boot", "/efi"]),
            _ => {}
        }
        if section.flag("ProtectKernelTunables", false) {
            read_only(&["/proc/sys", "/sys"]);
        }
        if section.flag("ProtectControlGroups", false) {
            read_only(&["/sys/fs/cgroup"]);
        }
        let homes = ["/home", "/root", "/run/user"];
        match section.text("ProtectHome").as_deref() {
            Some("read-only") => read_only(&homes),
            None if dynamic => read_only(&homes),
            Some(text) if text == "tmpfs" || parse_bool(text) == Some(true) => {
                self.inaccessible.extend(homes.map(|path| (path.to_owned(), true)));
            }
            _ => {}
        }
    }
}
