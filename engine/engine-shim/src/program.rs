//! The last steps before a program runs: user, limits, privileges, exec.
//!
//! Used inside the container's namespaces and root, by the first process and by
//! exec sessions alike. Order matters: what needs privilege comes before
//! dropping it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::caps;
use crate::failure::{During, Failure, NOT_EXECUTABLE, NOT_FOUND};
use crate::rootpath::SafeRoot;
use crate::spec::{Process, Rlimit};
use crate::sys;
use crate::user::{self, User};

/// Longest passwd or group file that is read.
const LARGEST_PASSWD: u64 = 16 * 1024 * 1024;

/// Looks the user up in the files of this root.
pub(crate) fn find_user(root: &SafeRoot, process: &Process) -> Result<User, Failure> {
    let text = |path| {
        root.read(path, LARGEST_PASSWD)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    };
    user::resolve(&process.user, &process.groups, &text("etc/passwd"), &text("etc/group"))
        .map_err(|message| Failure::new(crate::failure::SETUP, message))
}

/// Sets resource limits. Raising a hard limit needs CAP_SYS_RESOURCE; without
/// it the highest possible value is used, and a warning returned.
pub(crate) fn set_limits(limits: &[Rlimit]) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    for limit in limits {
        let Some(resource) = rlimit_number(&limit.name) else {
            return Err(Failure::new(crate::failure::SETUP, format!("invalid rlimit {}", limit.name)));
        };
        let value = |number: i64| if number < 0 { libc::RLIM_INFINITY } else { number as u64 };
        let (soft, hard) = (value(limit.soft), value(limit.hard));
        let Err(error) = sys::set_rlimit(resource, soft, hard) else { continue };
        if error.raw_os_error() != Some(libc::EPERM) {
            return Err(Failure::io(format!("error setting rlimit {}", limit.name), &error));
        }
        let (_, most) = sys::get_rlimit(resource).during(|| "getrlimit".into())?;
        let (soft, hard) = (soft.min(most), hard.min(most));
        sys::set_rlimit(resource, soft, hard).during(|| format!("error setting rlimit {}", limit.name))?;
        warnings.push(format!(
            "ulimit {} lowered to {soft}:{hard}: the engine lacks CAP_SYS_RESOURCE to raise it",
            limit.name
        ));
    }
    Ok(warnings)
}

fn rlimit_number(name: &str) -> Option<u32> {
    let number = match name {
        "cpu" => libc::RLIMIT_CPU,
        "fsize" => libc::RLIMIT_FSIZE,
        "data" => libc::RLIMIT_DATA,
        "stack" => libc::RLIMIT_STACK,
        "core" => libc::RLIMIT_CORE,
        "rss" => libc::RLIMIT_RSS,
        "nproc" => libc::RLIMIT_NPROC,
        "nofile" => libc::RLIMIT_NOFILE,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "locks" => libc::RLIMIT_LOCKS,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        _ => return None,
    };
    Some(number)
}

/// Lowers or raises the chance of being killed for memory. Lowering below the
/// engine's own needs a capability it may lack; then a warning.
pub(crate) fn set_oom_score(score: Option<i32>) -> Option<String> {
    let score = score?;
    let error = std::fs::write("/proc/self/oom_score_adj", score.to_string()).err()?;
    Some(format!("oom_score_adj {score} not set: {}", sys::errno_text(&error)))
}

/// Gives up everything the program must not have, and becomes the user.
pub(crate) fn drop_privileges(process: &Process, user: &User) -> Result<(), Failure> {
    let allowed = caps::mask(&process.capabilities);
    for bit in (0..caps::COUNT).filter(|bit| allowed >> bit & 1 == 0) {
        match sys::prctl(libc::PR_CAPBSET_DROP, u64::from(bit)) {
            // A capability this kernel does not know is not there to drop.
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
                return Err(Failure::io("dropping capabilities", &error));
            }
            _ => {}
        }
    }
    let filter = unpack_filter(&process.seccomp);
    if !process.no_new_privileges && !filter.is_empty() {
        sys::load_seccomp(&filter).during(|| "loading the seccomp filter".into())?;
    }
    sys::prctl(libc::PR_SET_KEEPCAPS, 1).during(|| "keeping capabilities".into())?;
    sys::set_groups(&user.groups).during(|| "setting supplementary groups".into())?;
    sys::set_gid(user.gid).during(|| "setting the group".into())?;
    sys::set_uid(user.uid).during(|| "setting the user".into())?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 0).during(|| "keeping capabilities".into())?;
    let kept = if user.uid == 0 { allowed & held()? } else { 0 };
    sys::set_capabilities(kept, kept, 0).during(|| "setting capabilities".into())?;
    if process.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).during(|| "setting no_new_privs".into())?;
        if !filter.is_empty() {
            sys::load_seccomp(&filter).during(|| "loading the seccomp filter".into())?;
        }
    }
    Ok(())
}

/// The engine may lack capabilities itself; those cannot be given on.
fn held() -> Result<u64, Failure> {
    let mut held = 0;
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [0u32; 6];
    sys::get_capabilities(&header, &mut data).during(|| "reading capabilities".into())?;
    held |= u64::from(data[1]) | u64::from(data[4]) << 32;
    Ok(held)
}

fn unpack_filter(packed: &[u64]) -> Vec<libc::sock_filter> {
    packed
        .iter()
        .map(|word| libc::sock_filter {
            code: (word >> 48) as u16,
            jt: (word >> 40) as u8,
            jf: (word >> 32) as u8,
            k: *word as u32,
        })
        .collect()
}

/// Changes to the working directory, which may not be a way out of the root.
pub(crate) fn enter_directory(root: BorrowedFd<'_>, cwd: &str) -> Result<(), Failure> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    let failed = || format!("chdir to cwd (\"{cwd}\") set in config.json failed");
    let relative = Path::new(cwd).strip_prefix("/").unwrap_or(Path::new(cwd));
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let dir = sys::openat2(root, relative, flags, 0, sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS)
        .during(failed)?;
    sys::fchdir(dir.as_fd()).during(failed)
}

/// A program ready to be executed.
pub(crate) struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Finds the program of `process`, as this user, in this root.
    pub(crate) fn find(process: &Process, home: &str) -> Result<Self, Failure> {
        let name = process.args.first().map_or("", String::as_str);
        let env = environment(process, home);
        let search = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("");
        let path = look_up(name, search)?;
        let strings = |list: &[String]| {
            list.iter()
                .map(|text| sys::c_string(text).during(|| "argument or environment".into()))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { path, args: strings(&process.args)?, env: strings(&env)? })
    }

    /// Runs it in place of this process; returns only a failure.
    pub(crate) fn exec(&self) -> Failure {
        let error = sys::exec(&self.path, &self.args, &self.env);
        let code = if error.raw_os_error() == Some(libc::ENOENT) { NOT_FOUND } else { NOT_EXECUTABLE };
        Failure::new(code, format!("exec {}: {}", self.path.to_string_lossy(), sys::errno_text(&error)))
    }
}

/// The environment: later entries of a name win, `HOME` is filled in.
fn environment(process: &Process, home: &str) -> Vec<String> {
    let key = |entry: &String| entry.split_once('=').map_or(entry.clone(), |(key, _)| key.to_owned());
    let mut result: Vec<String> = Vec::with_capacity(process.env.len() + 1);
    for entry in &process.env {
        let name = key(entry);
        match result.iter().position(|known| key(known) == name) {
            Some(at) => result[at].clone_from(entry),
            None => result.push(entry.clone()),
        }
    }
    if !result.iter().any(|entry| entry.starts_with("HOME=") && entry.len() > 5) {
        result.retain(|entry| key(entry) != "HOME");
        result.push(format!("HOME={home}"));
    }
    result
}

/// Finds a program as Go's `exec.LookPath` does, with its words.
fn look_up(name: &str, search: &str) -> Result<CString, Failure> {
    if name.is_empty() {
        return Err(Failure::new(NOT_FOUND, "exec: \"\": executable file not found in $PATH"));
    }
    if name.contains('/') {
        return executable(name).map_err(|error| explain(name, &error, true));
    }
    let mut denied = false;
    for dir in search.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        match executable(&format!("{dir}/{name}")) {
            Ok(path) => return Ok(path),
            Err(error) => denied |= error.raw_os_error() == Some(libc::EACCES),
        }
    }
    let (code, reason) = if denied {
        (NOT_EXECUTABLE, "permission denied")
    } else {
        (NOT_FOUND, "executable file not found in $PATH")
    };
    Err(Failure::new(code, format!("exec: {name:?}: {reason}")))
}

fn explain(name: &str, error: &std::io::Error, stat: bool) -> Failure {
    let text = sys::errno_text(error);
    let missing = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP));
    let code = if error.raw_os_error() == Some(libc::ENOENT) { NOT_FOUND } else { NOT_EXECUTABLE };
    if stat && missing {
        Failure::new(code, format!("exec: {name:?}: stat {name}: {text}"))
    } else {
        Failure::new(code, format!("exec: {name:?}: {text}"))
    }
}

fn executable(path: &str) -> std::io::Result<CString> {
    let meta = std::fs::metadata(path)?;
    let c_path = sys::c_string(path)?;
    if meta.is_dir() {
        return Err(std::io::Error::from_raw_os_error(libc::EISDIR));
    }
    let any_x = std::os::unix::fs::MetadataExt::mode(&meta) & 0o111 != 0;
    if !any_x {
        return Err(std::io::Error::from_raw_os_error(libc::EACCES));
    }
    may(&c_path)?;
    Ok(c_path)
}

fn may(path: &CStr) -> std::io::Result<()> {
    sys::may_execute(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_as_docker_tells_it() {
        let failure = look_up("nosuch", "/bin:/usr/bin").unwrap_err();
        assert_eq!(failure.code, 127);
        assert_eq!(failure.message, "exec: \"nosuch\": executable file not found in $PATH");
        let failure = look_up("/nosuch", "").unwrap_err();
        assert_eq!(failure.message, "exec: \"/nosuch\": stat /nosuch: no such file or directory");
        assert_eq!(failure.code, 127);
    }

    #[test]
    fn what_cannot_be_executed_is_126() {
        let failure = look_up("/etc", "").unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (126, "exec: \"/etc\": is a directory"));
        let failure = look_up("/etc/passwd", "").unwrap_err();
        assert_eq!(
            (failure.code, failure.message.as_str()),
            (126, "exec: \"/etc/passwd\": permission denied")
        );
        assert_eq!(look_up("passwd", "/etc").unwrap_err().message, "exec: \"passwd\": permission denied");
    }

    #[test]
    fn later_variables_win_and_home_is_filled_in() {
        let process = Process { env: vec!["A=1".into(), "B=2".into(), "A=3".into()], ..Process::default() };
        assert_eq!(environment(&process, "/root"), ["A=3", "B=2", "HOME=/root"]);
        let process = Process { env: vec!["HOME=/x".into()], ..Process::default() };
        assert_eq!(environment(&process, "/root"), ["HOME=/x"]);
    }
}
