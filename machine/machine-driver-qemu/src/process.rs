//! Which process a machine's QEMU is, and ending it when it does not listen any more.
//!
//! A pid is believed only if the command line of that process carries the machine's UUID, so that
//! no other process is ever signalled.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uuid::Uuid;

use crate::files;

/// How our QEMUs are started, as it stands in their command line.
const PID_OPTION: &[u8] = b"\0-pidfile\0qemu.pid\0";

/// A QEMU of ours, with the start time that tells it from a later process of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pid: i32,
    start: u64,
}

impl Process {
    /// The process that the pid file in `dir` names, if it really is the QEMU of machine `id`.
    pub(crate) fn find(dir: &Path, id: Uuid) -> Option<Self> {
        let pid: i32 = fs::read_to_string(dir.join(files::PID)).ok()?.trim().parse().ok()?;
        let start = start_time(pid)?;
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let id = id.to_string();
        let ours = command_line.split(|byte| *byte == 0).any(|word| word == id.as_bytes());
        // Both were true of one process only if it did not change in between.
        (ours && start_time(pid) == Some(start)).then_some(Self { pid, start })
    }

    /// Every QEMU whose machine's folder `dir` was removed under it: it still holds the disk that was
    /// there open.
    pub(crate) fn orphans(dir: &Path) -> Vec<Self> {
        let disk = format!("{} (deleted)", dir.join(files::DISK).display());
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let holds_disk = |pid: &i32| {
            let is_qemu = fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(PID_OPTION.len()).any(|word| word == PID_OPTION));
            // Reading what another user's process has open is refused, and so is not our concern.
            is_qemu
                && fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|fds| {
                    fds.flatten().any(|fd| {
                        fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == disk.as_str())
                    })
                })
        };
        let with_start = |pid: i32| Some(Self { pid, start: start_time(pid)? });
        pids.filter(holds_disk).filter_map(with_start).collect()
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.start)
    }

    /// Waits for its end; says whether it came.
    pub(crate) fn wait(self, limit: Duration, give_up: &dyn Fn() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_millis(1);
        while self.is_alive() {
            if Instant::now() >= deadline || give_up() {
                return false;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        true
    }

    /// Ends it at once. Returns before it is gone.
    pub(crate) fn kill(self) {
        if self.is_alive() {
            // It may end by itself in this moment, which is as good.
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    pub(crate) fn pid(self) -> i32 {
        self.pid
    }
}

/// Field 22 of `/proc/PID/stat`, unless it is a zombie: that runs no more.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from the last one.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_pid_without_our_uuid_is_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let id = Uuid::from_u128(7);
        assert_eq!(Process::find(dir.path(), id), None);
        let mut other = Command::new("sleep").arg("60").spawn().expect("sleep runs");
        fs::write(dir.path().join(files::PID), format!("{}\n", other.id())).expect("written");
        assert_eq!(Process::find(dir.path(), id), None);
        other.kill().expect("killed");
        other.wait().expect("waited");
    }

    #[test]
    fn our_process_is_found_ended_and_seen_to_be_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let id = Uuid::from_u128(8);
        let mut child = Command::new("sh")
            .args(["-c", "read line", &id.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh runs");
        fs::write(dir.path().join(files::PID), child.id().to_string()).expect("written");
        let find = || Process::find(dir.path(), id);
        let deadline = Instant::now() + Duration::from_secs(5);
        while find().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let process = find().expect("found");
        assert!(!process.wait(Duration::from_millis(20), &|| false));
        process.kill();
        assert!(process.wait(Duration::from_secs(5), &|| false));
        child.wait().expect("waited");
        assert_eq!(find(), None);
    }
}
