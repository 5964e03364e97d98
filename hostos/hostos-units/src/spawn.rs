//! Starting processes of services: what is decided in the supervisor ([`Plan`]), and what the child
//! does with it before it becomes the program.
//!
//! The supervisor has one thread, so the child may do ordinary things between fork and exec; it
//! still keeps to system calls on what was prepared.
#![allow(unsafe_code, reason = "fork, exec and the calls between them have no safe form")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use crate::config::exec::{ExecConfig, Sandbox};
use crate::exit;

/// All that a child needs to know.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) program: Option<CString>,
    pub(crate) argv: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    /// Preparing failed; the child ends with this code.
    pub(crate) fails: Option<i32>,
    /// `cgroup.procs` to join.
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// Make standard input the controlling terminal.
    pub(crate) controlling_tty: bool,
    /// Passed on from descriptor 3.
    pub(crate) passed: Vec<OwnedFd>,
    /// Closed by exec; a byte in it means that exec failed.
    pub(crate) report: Option<OwnedFd>,
    pub(crate) identity: Option<(u32, u32, Vec<u32>)>,
    pub(crate) working_directory: Option<(PathBuf, bool)>,
    pub(crate) root: Option<PathBuf>,
    pub(crate) sandbox: Option<Sandbox>,
    /// Folder with `tmp` and `var-tmp` to mount over /tmp and /var/tmp.
    pub(crate) private_tmp: Option<PathBuf>,
    pub(crate) umask: u32,
    pub(crate) nice: Option<i32>,
    pub(crate) oom_score_adjust: Option<i32>,
    pub(crate) io_priority: Option<i32>,
    pub(crate) limits: Vec<(u32, u64, u64)>,
    pub(crate) ignore_sigpipe: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) bounding_set: Option<u64>,
    pub(crate) ambient: u64,
}

impl Plan {
    /// Takes over what applies to every command of a unit. `privileged`: without sandbox.
    pub(crate) fn apply(&mut self, exec: &ExecConfig, privileged: bool) {
        self.umask = exec.umask;
        self.nice = exec.nice;
        self.oom_score_adjust = exec.oom_score_adjust;
        self.io_priority = exec.io_priority;
        self.limits.clone_from(&exec.limits);
        self.ignore_sigpipe = exec.ignore_sigpipe;
        if privileged {
            return;
        }
        self.root.clone_from(&exec.root_directory);
        self.no_new_privileges = exec.no_new_privileges || exec.dynamic_user;
        self.bounding_set = exec.bounding_set;
        self.ambient = exec.ambient;
        if exec.sandbox.needs_mounts() || exec.sandbox.private_network {
            self.sandbox = Some(exec.sandbox.clone());
        }
    }

    /// Forks, and in the child becomes the program.
    ///
    /// # Errors
    /// The process could not be made.
    pub(crate) fn spawn(&mut self) -> io::Result<i32> {
        // SAFETY: the child calls only `become_program`, which ends in exec or _exit, and the
        // supervisor holds no lock another thread could own.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let code = self.become_program();
                if let Some(report) = &self.report {
                    let byte = [u8::try_from(code & 0xff).unwrap_or(255)];
                    // SAFETY: the descriptor is open and the buffer has one byte.
                    unsafe { libc::write(report.as_raw_fd(), byte.as_ptr().cast(), 1) };
                }
                // SAFETY: ends this process without running anything of the parent.
                unsafe { libc::_exit(code) }
            }
            pid => Ok(pid),
        }
    }

    /// Returns only on failure, with the exit code that tells where.
    fn become_program(&mut self) -> i32 {
        match self.prepare_child() {
            Err(code) => code,
            Ok(()) => self.execute(),
        }
    }

    fn prepare_child(&mut self) -> Result<(), i32> {
        // SAFETY: plain system calls on this new process.
        unsafe {
            libc::setsid();
        }
        reset_signals(self.ignore_sigpipe);
        if let Some(cgroup) = &self.cgroup {
            fs::write(cgroup, "0").map_err(|_| exit::CGROUP)?;
        }
        self.set_descriptors()?;
        if let Some(code) = self.fails {
            return Err(code);
        }
        if let Some(score) = self.oom_score_adjust {
            fs::write("/proc/self/oom_score_adj", score.to_string()).map_err(|_| exit::OOM_ADJUST)?;
        }
        self.set_scheduling()?;
        for (resource, soft, hard) in &self.limits {
            set_limit(*resource, *soft, *hard)?;
        }
        // SAFETY: plain system call.
        unsafe { libc::umask(self.umask) };
        if let Some(sandbox) = &self.sandbox {
            crate::sandbox::enter(
                sandbox,
                self.private_tmp.as_deref(),
                self.identity.as_ref().map_or(0, |i| i.0),
            )?;
        }
        if let Some(root) = &self.root {
            nix::unistd::chroot(root).map_err(|_| exit::CHROOT)?;
            nix::unistd::chdir("/").map_err(|_| exit::CHDIR)?;
        }
        self.set_privileges()?;
        let (directory, optional) = self.working_directory.clone().unwrap_or_else(|| ("/".into(), false));
        match nix::unistd::chdir(&directory) {
            Err(_) if !optional => Err(exit::CHDIR),
            _ => Ok(()),
        }
    }

    /// Standard descriptors, then those that are passed on from 3, and nothing else.
    fn set_descriptors(&self) -> Result<(), i32> {
        let standard =
            [(&self.stdin, 0, exit::STDIN), (&self.stdout, 1, exit::STDOUT), (&self.stderr, 2, exit::STDOUT)];
        // Out of the way of the numbers to come, so that none overwrites another.
        let above = 3 + i32::try_from(self.passed.len()).unwrap_or(0);
        let mut moved: Vec<(RawFd, RawFd)> = Vec::new();
        for (fd, number, code) in standard {
            let Some(fd) = fd else { continue };
            moved.push((duplicate_above(fd.as_raw_fd(), above).ok_or(code)?, number));
        }
        for (index, fd) in (0..).zip(&self.passed) {
            moved.push((duplicate_above(fd.as_raw_fd(), above).ok_or(exit::FDS)?, 3 + index));
        }
        for (from, to) in moved {
            // SAFETY: both are descriptors of this process; the copy survives exec.
            if unsafe { libc::dup2(from, to) } < 0 {
                return Err(exit::FDS);
            }
        }
        if self.controlling_tty {
            // SAFETY: plain system call on standard input.
            unsafe { libc::ioctl(0, libc::TIOCSCTTY, 1) };
        }
        Ok(())
    }

    fn set_scheduling(&self) -> Result<(), i32> {
        if let Some(nice) = self.nice {
            // SAFETY: plain system call on this process.
            if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } < 0 {
                return Err(exit::NICE);
            }
        }
        if let Some(priority) = self.io_priority {
            const PROCESS: i32 = 1;
            // SAFETY: plain system call on this process.
            unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, priority) };
        }
        Ok(())
    }

    fn set_privileges(&self) -> Result<(), i32> {
        if let Some(set) = self.bounding_set {
            crate::sandbox::limit_capabilities(
                set | if self.identity.is_some() { crate::sandbox::SETUID_SETGID } else { 0 },
            )?;
        }
        if let Some((uid, gid, groups)) = &self.identity {
            if self.ambient != 0 {
                crate::sandbox::keep_capabilities();
            }
            // SAFETY: plain system calls; the list outlives the call.
            unsafe {
                if libc::setgroups(groups.len(), groups.as_ptr()) < 0 || libc::setresgid(*gid, *gid, *gid) < 0
                {
                    return Err(exit::GROUP);
                }
                if libc::setresuid(*uid, *uid, *uid) < 0 {
                    return Err(exit::USER);
                }
            }
        }
        if self.ambient != 0 {
            crate::sandbox::raise_ambient(self.ambient)?;
        }
        if self.no_new_privileges {
            // SAFETY: plain system call on this process.
            if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
                return Err(exit::NO_NEW_PRIVILEGES);
            }
        }
        Ok(())
    }

    fn execute(&self) -> i32 {
        let Some(program) = &self.program else { return exit::EXEC };
        let mut argv: Vec<_> = self.argv.iter().map(|word| word.as_ptr()).collect();
        let pid = format!("SYSTEMD_EXEC_PID={}", std::process::id());
        let pid = CString::new(pid).unwrap_or_default();
        let mut environment: Vec<_> = self.environment.iter().map(|word| word.as_ptr()).collect();
        environment.push(pid.as_ptr());
        // sd_listen_fds wants to hear that the descriptors are meant for this very process.
        let listen = CString::new(format!("LISTEN_PID={}", std::process::id())).unwrap_or_default();
        if !self.passed.is_empty() {
            environment.push(listen.as_ptr());
        }
        argv.push(std::ptr::null());
        environment.push(std::ptr::null());
        // SAFETY: all strings end in NUL and outlive the call, both lists end in a null pointer.
        unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
        exit::EXEC
    }
}

fn duplicate_above(fd: RawFd, least: i32) -> Option<RawFd> {
    // SAFETY: plain system call; the copy is closed by exec.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) };
    (copy >= 0).then_some(copy)
}

fn reset_signals(ignore_sigpipe: bool) {
    // SAFETY: an empty set is made before it is used; handlers are reset to the default.
    unsafe {
        let mut none = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        let pipe = if ignore_sigpipe { libc::SIG_IGN } else { libc::SIG_DFL };
        libc::signal(libc::SIGPIPE, pipe);
    }
}

/// More than is allowed comes down to what is allowed, as systemd does it.
fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<(), i32> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: plain system calls on structures of this function.
    unsafe {
        if libc::setrlimit(resource, &raw const limit) == 0 {
            return Ok(());
        }
        let mut known = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(resource, &raw mut known);
        let limit = libc::rlimit { rlim_cur: soft.min(known.rlim_max), rlim_max: hard.min(known.rlim_max) };
        if libc::setrlimit(resource, &raw const limit) == 0 { Ok(()) } else { Err(exit::LIMITS) }
    }
}

/// Sends a signal; a negative number means a process group. True if there was someone to get it.
pub(crate) fn kill(pid: i32, signal: i32) -> bool {
    // SAFETY: plain system call. 0 and 1, which would reach the caller's group or init, and -1,
    // which would reach everyone, are never sent to.
    !matches!(pid, -1..=1) && unsafe { libc::kill(pid, signal) } == 0
}

/// Signal to every process but this one: the end of a machine.
pub(crate) fn kill_everyone(signal: i32) {
    if std::process::id() == 1 {
        // SAFETY: plain system call; only the first process of a machine (or container) does it.
        unsafe { libc::kill(-1, signal) };
    }
}

/// Is there such a process that has not ended?
pub(crate) fn is_alive(pid: i32) -> bool {
    status_field(pid, "State:").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    status_field(pid, "PPid:")?.parse().ok()
}

fn status_field(pid: i32, key: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
}

/// A pipe; both ends are closed by exec. The first end does not block.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two descriptors, which are new and owned by nobody else.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::fcntl(ends[0], libc::F_SETFL, libc::O_NONBLOCK);
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// The program a name stands for: absolute as it is, plain names along the path.
pub(crate) fn find_program(name: &str, path: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(name.into());
    }
    path.split(':').map(|dir| Path::new(dir).join(name)).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Become the one who inherits orphans, as PID 1 is anyway.
pub(crate) fn become_reaper() {
    // SAFETY: plain system call on this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// The next child that has ended, if one has.
pub(crate) fn reap() -> Option<(i32, crate::exit::Exit)> {
    let mut status = 0;
    // SAFETY: the status is a variable of this function.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    if pid <= 0 {
        return None;
    }
    let exit = if libc::WIFEXITED(status) {
        crate::exit::Exit::Code(libc::WEXITSTATUS(status))
    } else if libc::WCOREDUMP(status) {
        crate::exit::Exit::Dumped(libc::WTERMSIG(status))
    } else {
        crate::exit::Exit::Signal(libc::WTERMSIG(status))
    };
    Some((pid, exit))
}
