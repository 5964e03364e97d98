//! Socket units at run time: listen, and start the service when someone comes.
#![allow(unsafe_code, reason = "descriptors that arrive by number are taken over")]

use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, listen, setsockopt, socket,
    sockopt,
};
use units_api::JobMode;

use crate::config::exec::ExecConfig;
use crate::config::general::Relation;
use crate::config::triggers::{Listen, SocketConfig};
use crate::jobs::StartError;
use crate::poll::Source;
use crate::spawn::Plan;
use crate::states::{ActiveState, JobKind, JobResult};
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

#[derive(Debug)]
pub(crate) struct SocketUnit {
    pub(crate) config: SocketConfig,
    fds: Vec<OwnedFd>,
    accepted: u32,
}

impl SocketUnit {
    pub(crate) fn new(config: SocketConfig, _exec: ExecConfig) -> Self {
        Self { config, fds: Vec::new(), accepted: 0 }
    }
}

impl Supervisor {
    fn socket(&self, id: UnitId) -> &SocketUnit {
        match &self.unit(id).detail {
            Detail::Socket(socket) => socket,
            _ => unreachable!("only asked of sockets"),
        }
    }

    fn socket_mut(&mut self, id: UnitId) -> &mut SocketUnit {
        match &mut self.unit_mut(id).detail {
            Detail::Socket(socket) => socket,
            _ => unreachable!("only asked of sockets"),
        }
    }

    pub(crate) fn socket_start(&mut self, id: UnitId) -> Result<(), StartError> {
        self.new_invocation(id);
        let config = self.socket(id).config.clone();
        let mut fds = Vec::new();
        for address in &config.listen {
            match open(address, &config) {
                Ok(fd) => fds.push(fd),
                Err(error) => {
                    self.log_unit(id, 3, &format!("could not listen on {address:?}: {error}"));
                    self.set_state(id, ActiveState::Failed, "failed");
                    return Err(StartError::Ends(JobResult::Failed));
                }
            }
        }
        self.socket_mut(id).fds = fds;
        self.listen_again(id);
        self.set_state(id, ActiveState::Active, "listening");
        Ok(())
    }

    fn listen_again(&mut self, id: UnitId) {
        for index in 0..self.socket(id).fds.len() {
            let copy = self.socket(id).fds[index].as_raw_fd();
            // SAFETY: the descriptor is owned by this unit and stays open during the call.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(copy) };
            let _ = self.poller.add(fd, Source::Socket(id));
        }
    }

    fn pause_listening(&mut self, id: UnitId) {
        for index in 0..self.socket(id).fds.len() {
            let copy = self.socket(id).fds[index].as_raw_fd();
            // SAFETY: as above.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(copy) };
            self.poller.remove(fd);
        }
    }

    pub(crate) fn socket_stop(&mut self, id: UnitId) {
        self.pause_listening(id);
        let config = self.socket(id).config.clone();
        self.socket_mut(id).fds.clear();
        for address in config.listen.iter().filter(|_| config.remove_on_stop) {
            if let Listen::UnixStream(path) | Listen::UnixDatagram(path) | Listen::Fifo(path) = address {
                let _ = std::fs::remove_file(path);
            }
        }
        self.set_state(id, ActiveState::Inactive, "dead");
    }

    pub(crate) fn socket_ready(&mut self, id: UnitId) {
        if self.socket(id).config.accept {
            return self.accept_one(id);
        }
        self.pause_listening(id);
        self.set_state(id, ActiveState::Active, "running");
        let triggered: Vec<_> = self.unit(id).related(Relation::Triggers).collect();
        for other in triggered {
            if let Err(error) = self.enqueue(other, JobKind::Start, JobMode::Replace) {
                self.log_unit(id, 4, &format!("could not start its service: {error}"));
                self.socket_failed(id);
            }
        }
    }

    fn socket_failed(&mut self, id: UnitId) {
        self.pause_listening(id);
        self.socket_mut(id).fds.clear();
        self.set_state(id, ActiveState::Failed, "failed");
    }

    /// `Accept=yes`: one instance of the service for each connection.
    fn accept_one(&mut self, id: UnitId) {
        let fds: Vec<RawFd> = self.socket(id).fds.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
        for fd in fds {
            let flags = SockFlag::SOCK_CLOEXEC;
            let Ok(accepted) = nix::sys::socket::accept4(fd, flags) else { continue };
            // SAFETY: accept4 has just made it, and nobody else knows it.
            let connection = unsafe { OwnedFd::from_raw_fd(accepted) };
            self.socket_mut(id).accepted += 1;
            let number = self.socket(id).accepted;
            let template = format!("{}@{number}.service", self.unit(id).name.stem());
            let Ok(name) = template.parse() else { continue };
            let service = self.load(&name);
            if let Detail::Service(service) = &mut self.unit_mut(service).detail {
                service.stored_fds = vec![("connection".into(), connection)];
            }
            if let Err(error) = self.enqueue(service, JobKind::Start, JobMode::Replace) {
                self.log_unit(id, 4, &format!("could not start {name}: {error}"));
            }
        }
    }

    pub(crate) fn socket_triggered_changed(&mut self, id: UnitId, triggered: UnitId) {
        let sub = self.unit(id).sub;
        if self.unit(triggered).active == ActiveState::Active
            && sub == "listening"
            && !self.socket(id).config.accept
        {
            // Its service was started by hand, and takes the connections now.
            self.pause_listening(id);
            self.set_state(id, ActiveState::Active, "running");
        }
        if self.unit(triggered).active.is_down() && sub == "running" {
            if self.unit(triggered).start_limit_hit {
                return self.socket_failed(id);
            }
            self.listen_again(id);
            self.set_state(id, ActiveState::Active, "listening");
        }
    }

    /// Descriptors that a service's main process gets: of its sockets, and of its connection.
    pub(crate) fn pass_sockets(
        &self,
        id: UnitId,
        plan: &mut Plan,
        environment: &mut std::collections::BTreeMap<String, String>,
    ) {
        let mut names = Vec::new();
        if let Detail::Service(service) = &self.unit(id).detail {
            for (name, fd) in &service.stored_fds {
                plan.passed.extend(fd.try_clone());
                names.push(name.clone());
            }
        }
        for trigger in self.unit(id).related(Relation::TriggeredBy) {
            let unit = self.unit(trigger);
            let Detail::Socket(socket) = &unit.detail else { continue };
            let name = socket.config.descriptor_name.clone().unwrap_or_else(|| unit.name.to_string());
            for fd in &socket.fds {
                plan.passed.extend(fd.as_fd().try_clone_to_owned());
                names.push(name.clone());
            }
        }
        if !plan.passed.is_empty() {
            environment.insert("LISTEN_FDS".into(), plan.passed.len().to_string());
            environment.insert("LISTEN_FDNAMES".into(), names.join(":"));
        }
    }
}

fn open(address: &Listen, config: &SocketConfig) -> std::io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (kind, path) = match address {
        Listen::Fifo(path) => return open_fifo(path, config),
        Listen::UnixStream(path) => (SockType::Stream, Some(path)),
        Listen::UnixDatagram(path) => (SockType::Datagram, Some(path)),
        Listen::Stream(_) => (SockType::Stream, None),
        Listen::Datagram(_) => (SockType::Datagram, None),
    };
    let fd = match address {
        Listen::Stream(inet) | Listen::Datagram(inet) => {
            let family = if inet.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let fd = socket(family, kind, flags, None)?;
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(*inet))?;
            fd
        }
        _ => {
            let path = path.expect("only inet sockets have none");
            make_parent(path)?;
            let _ = std::fs::remove_file(path);
            let fd = socket(AddressFamily::Unix, kind, flags, None)?;
            bind(fd.as_raw_fd(), &UnixAddr::new(path.as_path())?)?;
            set_owner(path, config)?;
            fd
        }
    };
    if kind == SockType::Stream {
        listen(&fd, Backlog::new(config.backlog.min(4096)).unwrap_or(Backlog::MAXCONN))?;
    }
    Ok(fd)
}

fn open_fifo(path: &Path, config: &SocketConfig) -> std::io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt as _;
    make_parent(path)?;
    match nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(config.mode)) {
        Err(nix::Error::EEXIST) | Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    set_owner(path, config)?;
    let file =
        std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    Ok(file.into())
}

fn make_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

fn set_owner(path: &Path, config: &SocketConfig) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(config.mode))?;
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let user = config.user.as_deref().and_then(|user| crate::host::find_user(&passwd, user));
    let group = config.group.as_deref().and_then(|group| crate::host::find_group(&groups, group));
    let gid = group.or(user.as_ref().map(|user| user.gid));
    if user.is_some() || gid.is_some() {
        std::os::unix::fs::chown(path, user.map(|user| user.uid), gid)?;
    }
    Ok(())
}

/// Closes descriptors that came with a message and are not wanted.
pub(crate) fn close_all(fds: &[RawFd]) {
    for fd in fds {
        // SAFETY: the kernel has just made them for this process, and nobody else knows them.
        drop(unsafe { OwnedFd::from_raw_fd(*fd) });
    }
}
