//! The container's first process, from its birth to the exec of its program.
//!
//! Runs in the clone. It tells the shim over a packet socket how far it got:
//! [`PREPARED`] with warnings and the terminal's master, then, after the shim's
//! go, either nothing (exec closes the socket) or [`FAILED`].

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::{During, Failure, SETUP};
use crate::program::{self, Program};
use crate::rootfs::{self, Built, Sources};
use crate::rootpath::SafeRoot;
use crate::spec::{Namespace, Spec};
use crate::sys;
use crate::user::User;

/// Everything stands; the rest of the packet is a JSON list of warnings.
pub(crate) const PREPARED: u8 = b'P';
/// It went wrong; the rest is a [`FailedPacket`].
pub(crate) const FAILED: u8 = b'F';
/// The shim's go.
pub(crate) const GO: u8 = b'G';

#[derive(Serialize, Deserialize)]
pub(crate) struct FailedPacket {
    pub code: i32,
    pub message: String,
}

/// What the clone brings along from the shim.
pub(crate) struct Inherited {
    pub socket: OwnedFd,
    pub stdio: Stdio,
    pub joined: Joined,
    /// The state directory, over which the root is mounted in this namespace.
    pub place: std::path::PathBuf,
}

/// Where the standard streams come from, unless there is a terminal.
pub(crate) struct Stdio {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Opened namespaces to enter.
pub(crate) struct Joined(Vec<(OwnedFd, i32)>);

impl Joined {
    /// Opens what the spec wants joined. The pid namespace is the shim's business.
    pub(crate) fn open(spec: &Spec) -> Result<Self, Failure> {
        let wanted = [
            (&spec.namespaces.net, libc::CLONE_NEWNET),
            (&spec.namespaces.ipc, libc::CLONE_NEWIPC),
            (&spec.namespaces.uts, libc::CLONE_NEWUTS),
            (&spec.namespaces.cgroup, libc::CLONE_NEWCGROUP),
        ];
        let mut joined = Vec::new();
        for (namespace, flag) in wanted {
            if let Namespace::Join(path) = namespace {
                let fd = sys::openat2(sys::CWD, path, libc::O_RDONLY, 0, 0)
                    .during(|| format!("opening namespace {}", path.display()))?;
                joined.push((fd, flag));
            }
        }
        Ok(Self(joined))
    }
}

/// The new process's whole life in our code.
pub(crate) fn run(spec: &Spec, inherited: Inherited) -> ! {
    let socket = inherited.socket.try_clone();
    let failure = match set_up_and_exec(spec, inherited) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    if let Ok(socket) = socket {
        report_failure(&socket, &failure);
    }
    sys::exit_now(failure.code)
}

pub(crate) fn report_failure(socket: &OwnedFd, failure: &Failure) {
    let packet = FailedPacket { code: failure.code, message: failure.message.clone() };
    let mut bytes = vec![FAILED];
    bytes.extend(serde_json::to_vec(&packet).unwrap_or_default());
    let _ = sys::send_packet(socket.as_fd(), &bytes, None);
}

fn set_up_and_exec(spec: &Spec, inherited: Inherited) -> Result<std::convert::Infallible, Failure> {
    let Inherited { socket, stdio, joined, place } = inherited;
    sys::reset_signals();
    sys::setsid();
    sys::set_umask(0o022);
    if spec.namespaces.user.is_some() {
        become_root_of_user_namespace(&socket)?;
    }
    for (fd, flag) in &joined.0 {
        sys::setns(fd.as_fd(), *flag).during(|| "joining a namespace".into())?;
    }
    drop(joined);
    set_up_loopback(spec)?;
    enter_cgroups(spec)?;
    let sources = Sources::open(spec)?;
    sys::set_root_propagation(libc::MS_REC | libc::MS_SLAVE)
        .during(|| "making the root mount a slave".into())?;
    let umask = sys::set_umask(0);
    let Built { root, terminal } = rootfs::build(spec, sources, &place)?;
    sys::set_umask(umask);
    sys::pivot_to_current_directory().during(|| "pivot_root".into())?;
    let (propagation, recursive) = rootfs::propagation_flags(spec.root_propagation);
    if propagation != libc::MS_PRIVATE {
        sys::set_mount_attributes(root.as_fd(), 0, propagation, recursive)
            .during(|| "root propagation".into())?;
    }
    set_names(spec)?;
    let mut warnings = program::set_limits(&spec.process.rlimits)?;
    warnings.extend(program::set_oom_score(spec.process.oom_score_adj));
    let user = program::find_user(&root, &spec.process)?;
    let master = match terminal {
        Some(terminal) => {
            wire_terminal(&terminal.slave, spec.process.console_size, user.uid)?;
            Some(terminal.master)
        }
        None => {
            wire_pipes(&root, stdio, &user)?;
            None
        }
    };
    let mut packet = vec![PREPARED];
    packet.extend(serde_json::to_vec(&warnings).unwrap_or_default());
    sys::send_packet(socket.as_fd(), &packet, master.as_ref().map(AsFd::as_fd))
        .during(|| "reporting".into())?;
    drop(master);
    await_go(&socket)?;
    if spec.init {
        crate::init::run(spec, &root, &user, &socket)
    }
    finish(spec, &root, &user)
}

/// From go to exec. Also the end of init's own child.
pub(crate) fn finish(spec: &Spec, root: &SafeRoot, user: &User) -> Result<std::convert::Infallible, Failure> {
    program::drop_privileges(&spec.process, user)?;
    // Changing the user cleared it; the container must not outlive its shim unseen.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).during(|| "setting the death signal".into())?;
    program::enter_directory(root.as_fd(), &spec.process.cwd)?;
    let program = Program::find(&spec.process, &user.home)?;
    sys::close_on_exec_from(3).during(|| "closing descriptors".into())?;
    Err(program.exec())
}

fn become_root_of_user_namespace(socket: &OwnedFd) -> Result<(), Failure> {
    await_go(socket)?;
    sys::set_gid(0).during(|| "becoming group 0 of the user namespace".into())?;
    sys::set_uid(0).during(|| "becoming user 0 of the user namespace".into())
}

/// On v1 a single-threaded process that moves itself through `tasks` skips the
/// kernel's global lock, which costs ten milliseconds by `cgroup.procs`. The
/// namespace comes after, so that its root is the container's own cgroup.
fn enter_cgroups(spec: &Spec) -> Result<(), Failure> {
    for dir in &spec.cgroup.v1 {
        let file = dir.join("tasks");
        std::fs::write(&file, "0").during(|| format!("joining {}", file.display()))?;
    }
    match spec.namespaces.cgroup {
        Namespace::New => sys::unshare(libc::CLONE_NEWCGROUP).during(|| "new cgroup namespace".into()),
        _ => Ok(()),
    }
}

/// A network of its own has nothing but the loopback, which programs expect to be up.
fn set_up_loopback(spec: &Spec) -> Result<(), Failure> {
    if !matches!(spec.namespaces.net, Namespace::New) {
        return Ok(());
    }
    // As in networks with a bridge; not every kernel has IPv6 to turn off.
    for kind in ["all", "default"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{kind}/disable_ipv6"), "1");
    }
    sys::set_loopback_up().during(|| "setting up the loopback interface".into())
}

fn set_names(spec: &Spec) -> Result<(), Failure> {
    if matches!(spec.namespaces.uts, Namespace::New) {
        if !spec.hostname.is_empty() {
            sys::set_hostname(&spec.hostname).during(|| "error during container init: sethostname".into())?;
        }
        if !spec.domainname.is_empty() {
            sys::set_domainname(&spec.domainname).during(|| "setdomainname".into())?;
        }
    }
    Ok(())
}

/// Makes `slave` the three standard streams and the controlling terminal.
pub(crate) fn wire_terminal(slave: &OwnedFd, size: Option<(u16, u16)>, owner: u32) -> Result<(), Failure> {
    let during = || "setting up the terminal".to_owned();
    if let Some((rows, columns)) = size {
        sys::set_window_size(slave.as_fd(), rows, columns).during(during)?;
    }
    sys::set_controlling_terminal(slave.as_fd()).during(during)?;
    let stat = sys::fstat(slave.as_fd()).during(during)?;
    sys::chownat(slave.as_fd(), "", owner, stat.st_gid).during(during)?;
    for number in 0..3 {
        sys::dup_to(slave.as_fd(), number).during(during)?;
    }
    Ok(())
}

/// Makes the pipes the standard streams, owned by the user so that
/// `/dev/stdout` can be opened again. What is absent is the container's null.
pub(crate) fn wire_pipes(root: &SafeRoot, stdio: Stdio, user: &User) -> Result<(), Failure> {
    let during = || "setting up the standard streams".to_owned();
    for (number, stream) in [stdio.stdin, stdio.stdout, stdio.stderr].into_iter().enumerate() {
        let stream = match stream {
            Some(pipe) => {
                sys::chownat(pipe.as_fd(), "", user.uid, user.gid).during(during)?;
                pipe
            }
            None => rootfs::open_null(root, if number == 0 { libc::O_RDONLY } else { libc::O_WRONLY })
                .or_else(|_| sys::pipe().map(|(read, write)| if number == 0 { read } else { write }))
                .during(during)?,
        };
        sys::dup_to(stream.as_fd(), number as i32).during(during)?;
    }
    Ok(())
}

fn await_go(socket: &OwnedFd) -> Result<(), Failure> {
    let mut byte = [0];
    match sys::receive_packet(socket.as_fd(), &mut byte) {
        Ok((1, _)) if byte[0] == GO => Ok(()),
        Ok(_) => Err(Failure::new(SETUP, "abandoned before start")),
        Err(error) => Err(Failure::io("waiting for the start", &error)),
    }
}

/// Where the root is mounted while it is built.
pub(crate) fn default_place(state: &Path) -> std::path::PathBuf {
    state.to_owned()
}
