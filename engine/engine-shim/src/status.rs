//! What the shim leaves behind in its state directory, for an engine that was
//! away: who started, how it ended. Written to a new file and renamed.

use std::io;

use crate::init::exit_code;
use crate::spec::Cgroup;
use crate::sys;
use crate::wire::{Exit, STARTED_FILE, STATUS_FILE, Started};

pub fn exit_of(wait_status: i32) -> Exit {
    let signal = libc::WIFSIGNALED(wait_status).then(|| libc::WTERMSIG(wait_status));
    Exit { code: exit_code(wait_status), signal, finished_at: sys::now(), ..Exit::default() }
}

/// Relative to the working directory, which is the state directory.
pub fn write_exit(exit: &Exit) {
    let _ = replace(STATUS_FILE, &serde_json::to_vec(exit).unwrap_or_default());
}

pub fn write_started(pid: i32) {
    let started = Started {
        pid,
        pid_start: start_of(pid).unwrap_or(0),
        shim_pid: std::process::id() as i32,
        started_at: sys::now(),
    };
    let _ = replace(STARTED_FILE, &serde_json::to_vec(&started).unwrap_or_default());
}

fn replace(name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.new");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(temporary, name)
}

/// When a process started, in the kernel's ticks since boot: with its number, its identity.
pub fn start_of(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, in parentheses, may hold anything; fields count from its end.
    let rest = &stat[stat.rfind(')')? + 2..];
    rest.split(' ').nth(19)?.parse().ok()
}

/// Did the kernel kill anything of this cgroup for memory?
pub fn was_out_of_memory(cgroup: &Cgroup) -> bool {
    let count = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
    };
    cgroup
        .v1
        .iter()
        .filter_map(|dir| count(dir.join("memory.oom_control")))
        .chain(cgroup.v2.iter().filter_map(|dir| count(dir.join("memory.events"))))
        .any(|kills| kills > 0)
}

/// Moves the shim out of the engine's own cgroups. Done late, because it can
/// take the kernel ten milliseconds.
pub fn leave_service(cgroup: &Cgroup) {
    for file in &cgroup.shim_files {
        let _ = std::fs::write(file, "0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_its_successor() {
        let me = std::process::id() as i32;
        assert!(start_of(me).is_some_and(|start| start > 0));
        assert_eq!(start_of(0), None);
    }

    #[test]
    fn wait_statuses_become_exit_codes() {
        assert_eq!(exit_of(3 << 8).code, 3);
        let killed = exit_of(9);
        assert_eq!((killed.code, killed.signal), (137, Some(9)));
    }
}
