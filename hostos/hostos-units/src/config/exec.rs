//! The environment a process of a unit runs in.

use std::path::PathBuf;

use unit_file::{parse_bool, parse_environment, parse_size};

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
            names: section.words(key).into_iter().filter(|name| inside(name)).collect(),
            mode: section.parsed(&format!("{key}Mode"), octal).unwrap_or(0o755),
        };
        let file_size = |text: &str| text.parse::<i32>().ok();
        Self {
            user: section.text("User"),
            group: section.text("Group"),
            supplementary_groups: section.words("SupplementaryGroups"),
            dynamic_user: section.flag("DynamicUser", false),
            working_directory: section.text("WorkingDirectory").map(|text| optional(&text)),
            root_directory: section.text("RootDirectory").map(PathBuf::from),
            environment: environment(section),
            environment_files: section.list("EnvironmentFile").iter().map(|text| optional(text)).collect(),
            pass_environment: section.words("PassEnvironment"),
            unset_environment: section.words("UnsetEnvironment"),
            umask: section.parsed("UMask", octal).unwrap_or(0o022),
            nice: section.parsed("Nice", file_size).filter(|nice| (-20..=19).contains(nice)),
            oom_score_adjust: section
                .parsed("OOMScoreAdjust", file_size)
                .filter(|score| (-1000..=1000).contains(score)),
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
            keep_runtime: section.text("RuntimeDirectoryPreserve").is_some_and(|text| text != "no"),
        }
    }
}

/// A relative path that stays below its folder.
fn inside(name: &str) -> bool {
    !name.starts_with('/') && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// The text without a leading `-`, and whether it had one.
fn optional(text: &str) -> (String, bool) {
    text.strip_prefix('-').map_or((text.to_owned(), false), |rest| (rest.to_owned(), true))
}

/// Specifiers are replaced in each assignment, so a value cannot break out of its quotes.
fn environment(section: &Section<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for value in section.file.list(section.name, "Environment") {
        for (name, value) in parse_environment(value) {
            found.retain(|(known, _)| *known != name);
            found.push((name, section.expand(&value)));
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

fn limits(section: &Section<'_>) -> Vec<(u32, u64, u64)> {
    let mut found = Vec::new();
    for (key, resource) in LIMITS {
        let one = |text: &str| match text {
            "infinity" => Some(libc::RLIM_INFINITY),
            _ if resource == libc::RLIMIT_CPU => {
                match unit_file::parse_span(text, std::time::Duration::from_secs(1))? {
                    unit_file::TimeSpan::Finite(span) => Some(span.as_secs()),
                    unit_file::TimeSpan::Infinite => Some(libc::RLIM_INFINITY),
                }
            }
            _ => parse_size(text),
        };
        let both = |text: &str| match text.split_once(':') {
            Some((soft, hard)) => one(soft).zip(one(hard)).filter(|(soft, hard)| soft <= hard),
            None => one(text).map(|limit| (limit, limit)),
        };
        found.extend(section.parsed(key, both).map(|(soft, hard)| (resource, soft, hard)));
    }
    found
}

fn sandbox(section: &Section<'_>) -> Sandbox {
    let paths = |keys: [&str; 2]| -> Vec<(String, bool)> {
        let words = keys.into_iter().flat_map(|key| section.words(key));
        words.map(|word| optional(&word)).filter(|(path, _)| path.starts_with('/')).collect()
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
