//! From a spec to a prepared first process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::child::{self, FAILED, FailedPacket, GO, Inherited, Joined, PREPARED, Stdio};
use crate::failure::{During, Failure, SETUP};
use crate::spec::{Namespace, Spec, Stdin, UserNamespace};
use crate::sys::{self, CloneRequest};

/// Longest packet from a child: an error sentence or warnings.
const PACKET: usize = 64 * 1024;

/// The shim's ends of a process's streams.
#[derive(Default)]
pub(crate) struct Ends {
    pub master: Option<OwnedFd>,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// A process that waits for its go.
pub(crate) struct Prepared {
    pub pid: i32,
    pub ends: Ends,
    pub warnings: Vec<String>,
    socket: OwnedFd,
}

/// Makes the pipes of a process without a terminal.
pub(crate) fn make_pipes(stdin: bool) -> Result<(Ends, Stdio), Failure> {
    let during = || "making pipes".to_owned();
    let (in_read, in_write) =
        if stdin { sys::pipe().during(during).map(|(r, w)| (Some(r), Some(w)))? } else { (None, None) };
    let (out_read, out_write) = sys::pipe().during(during)?;
    let (err_read, err_write) = sys::pipe().during(during)?;
    for fd in [Some(&out_read), Some(&err_read), in_write.as_ref()].into_iter().flatten() {
        sys::set_nonblocking(fd.as_fd()).during(during)?;
    }
    let ends = Ends { master: None, stdin: in_write, stdout: Some(out_read), stderr: Some(err_read) };
    Ok((ends, Stdio { stdin: in_read, stdout: Some(out_write), stderr: Some(err_write) }))
}

/// Clones the first process of the container; it then sets itself up.
pub(crate) fn clone_container(spec: &Spec, state: &Path) -> Result<Prepared, Failure> {
    let (ends, stdio) = if spec.process.tty {
        (Ends::default(), Stdio { stdin: None, stdout: None, stderr: None })
    } else {
        make_pipes(spec.stdin != Stdin::Closed)?
    };
    let (ours, theirs) = sys::packet_pair().during(|| "making a socket".into())?;
    let joined = Joined::open(spec)?;
    let cgroup = spec.cgroup.v2.as_ref().map(|dir| open_directory(dir)).transpose()?;
    let request = CloneRequest { namespaces: new_namespaces(spec), cgroup: cgroup.as_ref().map(AsFd::as_fd) };
    let pid = {
        let _entered = EnteredPids::enter(&spec.namespaces.pid)?;
        sys::clone3(&request).during(|| "clone3".into())?
    };
    let Some(pid) = pid else {
        drop(ours);
        let place = child::default_place(state);
        child::run(spec, Inherited { socket: theirs, stdio, joined, place });
    };
    if let Some(user) = &spec.namespaces.user {
        write_id_maps(pid, user)?;
        sys::send_packet(ours.as_fd(), &[GO], None).during(|| "starting the set-up".into())?;
    }
    Ok(Prepared::new(pid, ends, ours))
}

impl Prepared {
    pub(crate) fn new(pid: i32, ends: Ends, socket: OwnedFd) -> Self {
        Self { pid, ends, warnings: Vec::new(), socket }
    }

    /// Waits until the process has set itself up.
    pub(crate) fn await_setup(&mut self) -> Result<(), Failure> {
        let mut packet = vec![0; PACKET];
        let (length, fd) = sys::receive_packet(self.socket.as_fd(), &mut packet)
            .during(|| "waiting for the set-up".into())?;
        match packet.first() {
            Some(&PREPARED) if length > 0 => {
                self.warnings = serde_json::from_slice(&packet[1..length]).unwrap_or_default();
                if let Some(master) = fd {
                    sys::set_nonblocking(master.as_fd()).during(|| "terminal".into())?;
                    self.ends.master = Some(master);
                }
                Ok(())
            }
            _ => Err(failure_from(&packet[..length])),
        }
    }

    /// Lets it run; returns once the program was exec'd.
    pub(crate) fn go(&self) -> Result<(), Failure> {
        sys::send_packet(self.socket.as_fd(), &[GO], None).during(|| "starting the program".into())?;
        let mut packet = vec![0; PACKET];
        match sys::receive_packet(self.socket.as_fd(), &mut packet) {
            // The exec closed the other end. A reset is the same: it went unread.
            Ok((0, _)) => Ok(()),
            Ok((length, _)) => Err(failure_from(&packet[..length])),
            Err(error) => Err(Failure::io("starting the program", &error)),
        }
    }
}

fn failure_from(packet: &[u8]) -> Failure {
    match packet {
        [FAILED, rest @ ..] => match serde_json::from_slice::<FailedPacket>(rest) {
            Ok(packet) => Failure::new(packet.code, packet.message),
            Err(_) => Failure::new(SETUP, "the container failed without saying why"),
        },
        _ => Failure::new(SETUP, "the container's first process died while it was set up"),
    }
}

fn open_directory(dir: &Path) -> Result<OwnedFd, Failure> {
    sys::openat2(sys::CWD, dir, libc::O_RDONLY | libc::O_DIRECTORY, 0, 0)
        .during(|| format!("opening {}", dir.display()))
}

fn new_namespaces(spec: &Spec) -> i32 {
    let wanted = [
        (&spec.namespaces.net, libc::CLONE_NEWNET),
        (&spec.namespaces.pid, libc::CLONE_NEWPID),
        (&spec.namespaces.ipc, libc::CLONE_NEWIPC),
        (&spec.namespaces.uts, libc::CLONE_NEWUTS),
    ];
    let user = if spec.namespaces.user.is_some() { libc::CLONE_NEWUSER } else { 0 };
    wanted
        .iter()
        .filter(|(namespace, _)| matches!(namespace, Namespace::New))
        .fold(libc::CLONE_NEWNS | user, |flags, (_, flag)| flags | flag)
}

/// While held, new children are born into another pid namespace.
pub(crate) struct EnteredPids(Option<OwnedFd>);

impl EnteredPids {
    pub(crate) fn enter(namespace: &Namespace) -> Result<Self, Failure> {
        let Namespace::Join(path) = namespace else { return Ok(Self(None)) };
        let target = sys::openat2(sys::CWD, path, libc::O_RDONLY, 0, 0)
            .during(|| format!("opening namespace {}", path.display()))?;
        Self::enter_fd(&target)
    }

    pub(crate) fn enter_fd(target: &OwnedFd) -> Result<Self, Failure> {
        let own = sys::openat2(sys::CWD, "/proc/self/ns/pid", libc::O_RDONLY, 0, 0)
            .during(|| "opening /proc/self/ns/pid".into())?;
        sys::setns(target.as_fd(), libc::CLONE_NEWPID).during(|| "joining the pid namespace".into())?;
        Ok(Self(Some(own)))
    }
}

impl Drop for EnteredPids {
    fn drop(&mut self) {
        if let Some(own) = &self.0 {
            let _ = sys::setns(own.as_fd(), libc::CLONE_NEWPID);
        }
    }
}

fn write_id_maps(pid: i32, user: &UserNamespace) -> Result<(), Failure> {
    for (name, map) in [("uid_map", &user.uid_map), ("gid_map", &user.gid_map)] {
        let text: String =
            map.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect();
        std::fs::write(format!("/proc/{pid}/{name}"), text).during(|| format!("writing {name}"))?;
    }
    Ok(())
}
