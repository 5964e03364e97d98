//! A further process in a running container.

use std::os::fd::{AsFd, OwnedFd};

use crate::child::{self, GO, PREPARED, Stdio};
use crate::failure::{During, Failure, SETUP};
use crate::launch::{Ends, EnteredPids, Prepared, make_pipes};
use crate::program::{self, Program};
use crate::rootfs;
use crate::rootpath::SafeRoot;
use crate::spec::{ExecSpec, Namespace, Spec};
use crate::sys::{self, CloneRequest};

/// Starts the session; the program runs when this returns.
pub(crate) fn start(spec: &Spec, container: i32, exec: &ExecSpec) -> Result<(i32, Ends), Failure> {
    let target = sys::pidfd_open(container).during(|| "finding the container's process".into())?;
    let (ends, stdio) = if exec.process.tty {
        (Ends::default(), Stdio { stdin: None, stdout: None, stderr: None })
    } else {
        make_pipes(exec.stdin)?
    };
    let (ours, theirs) = sys::packet_pair().during(|| "making a socket".into())?;
    let cgroup = match &spec.cgroup.v2 {
        Some(dir) => Some(
            sys::openat2(sys::CWD, dir, libc::O_RDONLY | libc::O_DIRECTORY, 0, 0)
                .during(|| format!("opening {}", dir.display()))?,
        ),
        None => None,
    };
    let request = CloneRequest { namespaces: 0, cgroup: cgroup.as_ref().map(AsFd::as_fd) };
    let pid = {
        let _entered = match spec.namespaces.pid {
            Namespace::Host => None,
            _ => Some(EnteredPids::enter_fd(&target)?),
        };
        sys::clone3(&request).during(|| "clone3".into())?
    };
    let Some(pid) = pid else {
        drop(ours);
        run(spec, exec, &target, theirs, stdio);
    };
    drop((theirs, stdio));
    let mut prepared = Prepared::new(pid, ends, ours);
    prepared.await_setup()?;
    prepared.go()?;
    Ok((pid, prepared.ends))
}

fn run(spec: &Spec, exec: &ExecSpec, target: &OwnedFd, socket: OwnedFd, stdio: Stdio) -> ! {
    let failure = match enter_and_exec(spec, exec, target, &socket, stdio) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    child::report_failure(&socket, &failure);
    sys::exit_now(failure.code)
}

fn enter_and_exec(
    spec: &Spec,
    exec: &ExecSpec,
    target: &OwnedFd,
    socket: &OwnedFd,
    stdio: Stdio,
) -> Result<std::convert::Infallible, Failure> {
    sys::reset_signals();
    sys::setsid();
    sys::set_umask(0o022);
    for dir in &spec.cgroup.v1 {
        let file = dir.join("tasks");
        std::fs::write(&file, "0").during(|| format!("joining {}", file.display()))?;
    }
    sys::setns(target.as_fd(), namespaces(spec)).during(|| "joining the container's namespaces".into())?;
    std::env::set_current_dir("/").during(|| "entering the root".into())?;
    let root = SafeRoot::open(std::path::Path::new("/")).during(|| "opening the root".into())?;
    let mut warnings = program::set_limits(&exec.process.rlimits)?;
    warnings.extend(program::set_oom_score(exec.process.oom_score_adj));
    let user = program::find_user(&root, &exec.process)?;
    let master = if exec.process.tty {
        let devpts = root.handle("dev/pts").during(|| "opening /dev/pts".into())?;
        let terminal = rootfs::open_terminal(&devpts)?;
        child::wire_terminal(&terminal.slave, exec.process.console_size, user.uid)?;
        Some(terminal.master)
    } else {
        child::wire_pipes(&root, stdio, &user)?;
        None
    };
    let mut packet = vec![PREPARED];
    packet.extend(serde_json::to_vec(&warnings).unwrap_or_default());
    sys::send_packet(socket.as_fd(), &packet, master.as_ref().map(AsFd::as_fd))
        .during(|| "reporting".into())?;
    drop(master);
    let mut byte = [0];
    match sys::receive_packet(socket.as_fd(), &mut byte) {
        Ok((1, _)) if byte[0] == GO => {}
        _ => return Err(Failure::new(SETUP, "abandoned before start")),
    }
    program::drop_privileges(&exec.process, &user)?;
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).during(|| "setting the death signal".into())?;
    program::enter_directory(root.as_fd(), &exec.process.cwd)?;
    let program = Program::find(&exec.process, &user.home)?;
    sys::close_on_exec_from(3).during(|| "closing descriptors".into())?;
    Err(program.exec())
}

/// All but the pid namespace, into which the shim cloned us already. Joining
/// one that is the host's own anyway does no harm.
fn namespaces(spec: &Spec) -> i32 {
    let base = libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    if spec.namespaces.user.is_some() { base | libc::CLONE_NEWUSER } else { base }
}
