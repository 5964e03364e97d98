//! `Condition*=` and `Assert*=`.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use crate::config::Section;

/// One condition.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    kind: Kind,
    /// It is an assert: failing it fails the start.
    pub(crate) assert: bool,
    /// `|`: one of all of these is enough.
    trigger: bool,
    /// `!`.
    negate: bool,
    parameter: String,
}

macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Kind { $($kind),* }
        const KINDS: &[(&str, Kind)] = &[$((stringify!($kind), Kind::$kind)),*];
    };
}

kinds!(
    PathExists,
    PathExistsGlob,
    PathIsDirectory,
    PathIsSymbolicLink,
    PathIsMountPoint,
    PathIsReadWrite,
    DirectoryNotEmpty,
    FileNotEmpty,
    FileIsExecutable,
    KernelCommandLine,
    KernelVersion,
    Architecture,
    Virtualization,
    Host,
    ACPower,
    NeedsUpdate,
    FirstBoot,
    Environment,
    User,
    Group,
    Memory,
    CPUs,
    Capability,
    Security,
    ControlGroupController,
    OSRelease,
);

impl Condition {
    pub(crate) fn parse_all(section: &Section<'_>) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for assignment in section.file.assignments.iter().filter(|a| a.section == section.name) {
            let (assert, name) = match assignment.key.strip_prefix("Condition") {
                Some(name) => (false, name),
                None => match assignment.key.strip_prefix("Assert") {
                    Some(name) => (true, name),
                    None => continue,
                },
            };
            let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) else { continue };
            if assignment.value.is_empty() {
                // An empty one forgets all conditions (or asserts), of every kind.
                found.retain(|condition| condition.assert != assert);
                continue;
            }
            let value = assignment.value.as_str();
            let (trigger, value) = value.strip_prefix('|').map_or((false, value), |rest| (true, rest));
            let (negate, value) = value.strip_prefix('!').map_or((false, value), |rest| (true, rest));
            found.push(Self {
                kind: *kind,
                assert,
                trigger,
                negate,
                parameter: section.expand(value.trim()),
            });
        }
        found
    }

    /// As written, for messages.
    pub(crate) fn describe(&self) -> String {
        let word = if self.assert { "Assert" } else { "Condition" };
        let negate = if self.negate { "!" } else { "" };
        format!("{word}{:?}={negate}{}", self.kind, self.parameter)
    }

    fn holds(&self) -> bool {
        self.test() != self.negate
    }

    fn test(&self) -> bool {
        let parameter = self.parameter.as_str();
        let path = Path::new(parameter);
        match self.kind {
            Kind::PathExists => path.exists(),
            Kind::PathExistsGlob => crate::glob::any_exists(parameter),
            Kind::PathIsDirectory => path.is_dir(),
            Kind::PathIsSymbolicLink => path.is_symlink(),
            Kind::PathIsMountPoint => crate::mounts::is_mount_point(parameter),
            Kind::PathIsReadWrite => {
                nix::unistd::access(path, nix::unistd::AccessFlags::W_OK) != Err(nix::Error::EROFS)
                    && path.exists()
            }
            Kind::DirectoryNotEmpty => fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()),
            Kind::FileNotEmpty => fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 0),
            Kind::FileIsExecutable => fs::metadata(path).is_ok_and(|meta| {
                meta.is_file() && !meta.file_type().is_fifo() && meta.permissions().mode() & 0o111 != 0
            }),
            Kind::KernelCommandLine => kernel_command_line(parameter),
            Kind::KernelVersion => kernel_version(parameter),
            Kind::Architecture => architecture(parameter),
            Kind::Virtualization => virtualization(parameter),
            Kind::Host => host(parameter),
            Kind::Environment => match parameter.split_once('=') {
                Some((name, value)) => std::env::var(name).is_ok_and(|found| found == value),
                None => std::env::var_os(parameter).is_some(),
            },
            Kind::User => matches!(parameter, "root" | "0" | "@system"),
            Kind::Group => matches!(parameter, "root" | "0" | "@system"),
            Kind::Memory => {
                compare(parameter, crate::host::memory_total().unwrap_or(0), unit_file::parse_size)
            }
            Kind::CPUs => {
                let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
                compare(parameter, cpus, |text| text.parse().ok())
            }
            Kind::ControlGroupController => fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
                .is_ok_and(|known| {
                    parameter
                        .split_ascii_whitespace()
                        .all(|c| c == "v2" || known.split_ascii_whitespace().any(|k| k == c))
                }),
            Kind::OSRelease => os_release(parameter),
            Kind::ACPower => unit_file::parse_bool(parameter).unwrap_or(true),
            Kind::Capability => true,
            Kind::NeedsUpdate | Kind::Security => false,
            Kind::FirstBoot => {
                unit_file::parse_bool(parameter) == Some(Path::new("/run/systemd/first-boot").exists())
            }
        }
    }
}

/// The first condition (or assert) that keeps the unit from starting; nothing if all hold.
pub(crate) fn first_failed(conditions: &[Condition], assert: bool) -> Option<&Condition> {
    let all = || conditions.iter().filter(|condition| condition.assert == assert);
    if let Some(failed) = all().find(|condition| !condition.trigger && !condition.holds()) {
        return Some(failed);
    }
    let any_trigger_holds = all().filter(|c| c.trigger).any(Condition::holds);
    all().find(|condition| condition.trigger).filter(|_| !any_trigger_holds)
}

fn kernel_command_line(parameter: &str) -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_ascii_whitespace().any(|word| {
        word == parameter
            || (!parameter.contains('=') && word.split_once('=').is_some_and(|(key, _)| key == parameter))
    })
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .filter_map(|part| part.parse().ok())
        .collect()
}

fn kernel_version(parameter: &str) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    parameter.split_ascii_whitespace().all(|word| {
        let at = word.find(|c: char| !"<>=!".contains(c)).unwrap_or(word.len());
        let (operator, wanted) = word.split_at(at);
        if operator.is_empty() {
            return crate::glob::matches(wanted, release);
        }
        decide(operator, numbers(release).cmp(&numbers(wanted)))
    })
}

fn decide(operator: &str, order: std::cmp::Ordering) -> bool {
    match operator {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        "=" | "==" => order.is_eq(),
        "!=" | "<>" => order.is_ne(),
        ">=" => order.is_ge(),
        ">" => order.is_gt(),
        _ => false,
    }
}

fn compare(parameter: &str, actual: u64, read: impl Fn(&str) -> Option<u64>) -> bool {
    let at = parameter.find(|c: char| !"<>=!".contains(c)).unwrap_or(parameter.len());
    let (operator, wanted) = parameter.split_at(at);
    let operator = if operator.is_empty() { ">=" } else { operator };
    read(wanted.trim()).is_some_and(|wanted| decide(operator, actual.cmp(&wanted)))
}

fn architecture(parameter: &str) -> bool {
    let native = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86-64" };
    parameter == native || parameter == "native"
}

fn virtualization(parameter: &str) -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let vm = flags.lines().any(|line| {
        line.starts_with("flags") && line.ends_with("hypervisor") || line.contains(" hypervisor ")
    });
    match unit_file::parse_bool(parameter) {
        Some(wanted) => wanted == vm,
        None => matches!(parameter, "vm" | "qemu" | "kvm") && vm,
    }
}

fn host(parameter: &str) -> bool {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    id.trim() == parameter || crate::glob::matches(parameter, &crate::host::host_name())
}

fn os_release(parameter: &str) -> bool {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let known = unit_file::parse_environment_file(&text);
    parameter.split_ascii_whitespace().all(|word| {
        let Some((key, value)) = word.split_once('=') else { return false };
        let (key, negate) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
        known.iter().any(|(k, v)| k == key && v == value) != negate
    })
}
