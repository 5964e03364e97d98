//! The table of programs, sorted by name.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::shell;

pub(crate) use hostos_userland::Program;

const fn program(name: &'static str, run: fn(Vec<OsString>) -> ExitCode) -> Program {
    Program { name, run }
}

/// The daemons, their clients and the shell, sorted by name.
const MAIN: &[Program] = &[
    program("bash", shell::run),
    program("curl", hostos_curl::run),
    program("docker", engine_cli::run),
    program("engined", engined::run),
    program("etcd", kvd::run),
    program("etcdctl", kvctl::run),
    program("fleetctl", fleetctl::run),
    program("fleetd", fleetd::run),
    program("halt", systemctl),
    program("hostos", hostos_provision::run),
    program("hostos-init", hostos_init::run),
    program("ip", hostos_ip::run),
    program("journalctl", journalctl),
    program("kvctl", kvctl::run),
    program("kvd", kvd::run),
    program("poweroff", systemctl),
    program("reboot", systemctl),
    program("sftp-server", hostos_sshd::run_sftp_server),
    program("sh", shell::run),
    program("sshd", hostos_sshd::run),
    program("systemctl", systemctl),
];

/// Every name under which the image starts this executable.
pub(crate) fn programs() -> impl Iterator<Item = &'static Program> {
    MAIN.iter().chain(hostos_userland::OWN).chain(hostos_userland::FOREIGN)
}

fn systemctl(args: Vec<OsString>) -> ExitCode {
    hostos_units::systemctl(&args)
}

fn journalctl(args: Vec<OsString>) -> ExitCode {
    hostos_units::journalctl(&args)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What 182 real fleet units call, by first word or inside a shell. `jq`, which four of them call, is
    /// absent; so are editors, pagers, package managers and iptables.
    const CALLED: &[&str] = &[
        "awk",
        "bash",
        "base64",
        "basename",
        "cat",
        "chmod",
        "chown",
        "cp",
        "curl",
        "cut",
        "date",
        "dirname",
        "docker",
        "echo",
        "egrep",
        "env",
        "etcdctl",
        "expr",
        "false",
        "find",
        "fleetctl",
        "flock",
        "free",
        "grep",
        "gunzip",
        "gzip",
        "head",
        "hostname",
        "id",
        "install",
        "ip",
        "journalctl",
        "kill",
        "killall",
        "ln",
        "logger",
        "ls",
        "mkdir",
        "mktemp",
        "mount",
        "mv",
        "nohup",
        "pgrep",
        "pkill",
        "printenv",
        "printf",
        "ps",
        "readlink",
        "rm",
        "rmdir",
        "sed",
        "seq",
        "sh",
        "sha256sum",
        "sleep",
        "sort",
        "stat",
        "sudo",
        "sync",
        "systemctl",
        "systemd-notify",
        "tail",
        "tar",
        "tee",
        "test",
        "timeout",
        "touch",
        "tr",
        "true",
        "umount",
        "uname",
        "uniq",
        "wc",
        "which",
        "whoami",
        "xargs",
    ];

    #[test]
    fn what_real_units_call_is_here() {
        let names: BTreeSet<_> = programs().map(|program| program.name).collect();
        let missing: Vec<_> = CALLED.iter().filter(|name| !names.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn no_name_stands_for_two_programs() {
        let names: BTreeSet<_> = programs().map(|program| program.name).collect();
        assert_eq!(names.len(), programs().count());
        assert!(MAIN.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
