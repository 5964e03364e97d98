//! How processes end, and the exit codes that say a process could not even be started.

use crate::config::service::ExitStatusSet;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By this signal, leaving a core.
    Dumped(i32),
}

impl Exit {
    /// Is this success for a command (`daemon`: for a long-running process)?
    pub(crate) fn is_clean(self, daemon: bool, also: &ExitStatusSet) -> bool {
        match self {
            Self::Code(code) => code == 0 || also.codes.contains(&code),
            Self::Signal(signal) => {
                let usual = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE];
                (daemon && usual.contains(&signal)) || also.signals.contains(&signal)
            }
            Self::Dumped(_) => false,
        }
    }

    pub(crate) fn is_in(self, set: &ExitStatusSet) -> bool {
        match self {
            Self::Code(code) => set.codes.contains(&code),
            Self::Signal(signal) | Self::Dumped(signal) => set.signals.contains(&signal),
        }
    }

    /// `exited`, `killed`, `dumped`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Code(_) => "exited",
            Self::Signal(_) => "killed",
            Self::Dumped(_) => "dumped",
        }
    }

    /// The number behind the name.
    pub(crate) const fn status(self) -> i32 {
        match self {
            Self::Code(number) | Self::Signal(number) | Self::Dumped(number) => number,
        }
    }

    /// For people: `status=203/EXEC`, `status=9/KILL`.
    pub(crate) fn describe(self) -> String {
        let label = match self {
            Self::Code(code) => code_name(code).map_or_else(|| "n/a".into(), str::to_owned),
            Self::Signal(signal) | Self::Dumped(signal) => unit_file::signal_name(signal),
        };
        format!("code={}, status={}/{label}", self.name(), self.status())
    }
}

/// Codes of a child that failed before its program ran.
pub(crate) const CHDIR: i32 = 200;
pub(crate) const NICE: i32 = 201;
pub(crate) const FDS: i32 = 202;
pub(crate) const EXEC: i32 = 203;
pub(crate) const LIMITS: i32 = 205;
pub(crate) const OOM_ADJUST: i32 = 206;
pub(crate) const STDIN: i32 = 208;
pub(crate) const STDOUT: i32 = 209;
pub(crate) const CHROOT: i32 = 210;
pub(crate) const CAPABILITIES: i32 = 218;
pub(crate) const CGROUP: i32 = 219;
pub(crate) const GROUP: i32 = 216;
pub(crate) const USER: i32 = 217;
pub(crate) const NETWORK: i32 = 225;
pub(crate) const NAMESPACE: i32 = 226;
pub(crate) const NO_NEW_PRIVILEGES: i32 = 227;
pub(crate) const RUNTIME_DIRECTORY: i32 = 233;

const NAMES: [(i32, &str); 30] = [
    (0, "SUCCESS"),
    (1, "FAILURE"),
    (2, "INVALIDARGUMENT"),
    (3, "NOTIMPLEMENTED"),
    (4, "NOPERMISSION"),
    (5, "NOTINSTALLED"),
    (6, "NOTCONFIGURED"),
    (7, "NOTRUNNING"),
    (CHDIR, "CHDIR"),
    (NICE, "NICE"),
    (FDS, "FDS"),
    (EXEC, "EXEC"),
    (204, "MEMORY"),
    (LIMITS, "LIMITS"),
    (OOM_ADJUST, "OOM_ADJUST"),
    (207, "SIGNAL_MASK"),
    (STDIN, "STDIN"),
    (STDOUT, "STDOUT"),
    (CHROOT, "CHROOT"),
    (211, "IOPRIO"),
    (GROUP, "GROUP"),
    (USER, "USER"),
    (CAPABILITIES, "CAPABILITIES"),
    (CGROUP, "CGROUP"),
    (220, "SETSID"),
    (222, "STDERR"),
    (NETWORK, "NETWORK"),
    (NAMESPACE, "NAMESPACE"),
    (NO_NEW_PRIVILEGES, "NO_NEW_PRIVILEGES"),
    (RUNTIME_DIRECTORY, "RUNTIME_DIRECTORY"),
];

fn code_name(code: i32) -> Option<&'static str> {
    let sysexits = [(65, "DATAERR"), (69, "UNAVAILABLE"), (70, "SOFTWARE"), (75, "TEMPFAIL"), (78, "CONFIG")];
    NAMES.iter().chain(&sysexits).find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// The code of a name such as `TEMPFAIL`.
pub(crate) fn code_from_name(name: &str) -> Option<i32> {
    let sysexits = [(65, "DATAERR"), (69, "UNAVAILABLE"), (70, "SOFTWARE"), (75, "TEMPFAIL"), (78, "CONFIG")];
    NAMES.iter().chain(&sysexits).find(|(_, known)| *known == name).map(|(code, _)| *code)
}
