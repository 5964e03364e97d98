//! A program that runs for a client, as the client's account, and what goes in and out of it.
#![allow(unsafe_code, reason = "the account is taken on between fork and exec")]

use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child as Process, Command};
use tokio::sync::mpsc;

use crate::accounts::Account;
use crate::stdin;
use crate::terminal::{self, Size, Terminal};

/// After a program has ended, its children may keep its output open. They get this long to finish.
const DRAIN: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The account's shell, as a login shell.
    Shell,
    /// A line for the account's shell.
    Command(Vec<u8>),
    /// The sftp server.
    Sftp,
}

/// What a client may do to a running program.
#[derive(Clone, Debug)]
pub(crate) enum Control {
    Resize(Size),
    Signal(Sig),
}

/// Everything that a program's start depends on.
pub(crate) struct Request {
    pub(crate) account: Arc<Account>,
    pub(crate) task: Task,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) terminal: Option<(String, Size)>,
    pub(crate) peer: SocketAddr,
    pub(crate) sftp_server: PathBuf,
}

/// A running program.
pub(crate) struct Child {
    process: Process,
    terminal: Option<Terminal>,
}

/// Starts the program.
pub(crate) fn spawn(request: &Request) -> io::Result<Child> {
    let mut command = command(request);
    environment(&mut command, request);
    let account = &request.account;
    command.current_dir(if account.home.is_dir() { &account.home } else { Path::new("/") });
    let terminal = match &request.terminal {
        Some((_, size)) => {
            let (near, far) = terminal::open(*size)?;
            command.stdin(far.try_clone()?).stdout(far.try_clone()?).stderr(far);
            Some(near)
        }
        None => {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            None
        }
    };
    take_on(&mut command, account, terminal.is_some());
    Ok(Child { process: command.spawn()?, terminal })
}

fn command(request: &Request) -> Command {
    let shell = &request.account.shell;
    let name = shell.file_name().unwrap_or(shell.as_os_str()).to_owned();
    match &request.task {
        Task::Sftp => Command::new(&request.sftp_server),
        Task::Shell => {
            let mut login = std::ffi::OsString::from("-");
            login.push(&name);
            let mut command = Command::new(shell);
            command.arg0(login);
            command
        }
        Task::Command(line) => {
            let mut command = Command::new(shell);
            command.arg0(name).arg("-c").arg(std::ffi::OsStr::from_bytes(line));
            command
        }
    }
}

fn environment(command: &mut Command, request: &Request) {
    let account = &request.account;
    command
        .env_clear()
        .env("PATH", "/opt/bin:/usr/local/bin:/usr/bin")
        .env("HOME", &account.home)
        .env("USER", &account.name)
        .env("LOGNAME", &account.name)
        .env("SHELL", &account.shell)
        .env("SSH_CLIENT", format!("{} {} 22", request.peer.ip(), request.peer.port()));
    if let Some((term, _)) = &request.terminal {
        command.env("TERM", term);
    }
    for (name, value) in &request.environment {
        command.env(name, value);
    }
}

/// Makes the child a session of its own that belongs to the account, controlling the terminal.
fn take_on(command: &mut Command, account: &Account, terminal: bool) {
    let groups: Vec<libc::gid_t> = account.groups.clone();
    let (uid, gid) = (account.uid, account.gid);
    let check = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    let root = nix::unistd::geteuid().is_root();
    let prepare = move || {
        // SAFETY: these are system calls with plain numbers and one slice that lives as long as the closure.
        unsafe {
            check(libc::setsid())?;
            if terminal {
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
                if root {
                    check(libc::fchown(0, uid, gid))?;
                }
            }
            if root {
                check(libc::setgroups(groups.len(), groups.as_ptr()))?;
                check(libc::setgid(gid))?;
                check(libc::setuid(uid))?;
            }
            Ok(())
        }
    };
    // SAFETY: the closure makes system calls only; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(prepare) };
}

impl Child {
    /// Carries everything between the program and the channel until both are done.
    pub(crate) async fn serve(
        mut self,
        channel: Channel<Msg>,
        mut orders: mpsc::Receiver<Control>,
        handle: Handle,
    ) {
        let id = channel.id();
        let pid = self.process.id();
        let (mut incoming, outgoing) = channel.split();
        let stdin = self.process.stdin.take();
        let (stdout, stderr) = (self.process.stdout.take(), self.process.stderr.take());
        let terminal = self.terminal.take();
        let resized = terminal.clone();
        let near = terminal.clone();
        let input = async move {
            match near {
                Some(near) => stdin::carry(&mut incoming, Some(near)).await,
                None => stdin::carry(&mut incoming, stdin).await,
            }
        };
        let output = async {
            match terminal {
                Some(near) => copy(near, &outgoing, None).await,
                None => {
                    tokio::join!(copy_some(stdout, &outgoing, None), copy_some(stderr, &outgoing, Some(1)));
                }
            }
        };
        let control = async {
            while let Some(order) = orders.recv().await {
                obey(order, pid, resized.as_ref());
            }
            std::future::pending::<()>().await;
        };
        tokio::pin!(input, output, control);
        let mut drained = false;
        let mut closed = false;
        let status = loop {
            tokio::select! {
                status = self.process.wait() => break status,
                () = &mut output, if !drained => drained = true,
                _ = &mut input, if !closed => {
                    closed = true;
                    hang_up(pid);
                }
                () = &mut control => {}
            }
        };
        if !drained {
            let _ = tokio::time::timeout(DRAIN, &mut output).await;
        }
        finish(&handle, id, status).await;
    }
}

fn obey(order: Control, pid: Option<u32>, terminal: Option<&Terminal>) {
    match order {
        Control::Resize(size) => {
            if let Some(terminal) = terminal {
                terminal.resize(size);
            }
        }
        Control::Signal(signal) => {
            if let (Some(group), Some(signal)) = (group(pid), number(&signal)) {
                let _ = killpg(group, signal);
            }
        }
    }
}

/// The client is gone: tell the program as a modem would have.
fn hang_up(pid: Option<u32>) {
    if let Some(group) = group(pid) {
        let _ = killpg(group, Signal::SIGHUP);
    }
}

fn group(pid: Option<u32>) -> Option<Pid> {
    pid.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw)
}

fn number(signal: &Sig) -> Option<Signal> {
    match signal {
        Sig::ABRT => Some(Signal::SIGABRT),
        Sig::ALRM => Some(Signal::SIGALRM),
        Sig::FPE => Some(Signal::SIGFPE),
        Sig::HUP => Some(Signal::SIGHUP),
        Sig::ILL => Some(Signal::SIGILL),
        Sig::INT => Some(Signal::SIGINT),
        Sig::KILL => Some(Signal::SIGKILL),
        Sig::PIPE => Some(Signal::SIGPIPE),
        Sig::QUIT => Some(Signal::SIGQUIT),
        Sig::SEGV => Some(Signal::SIGSEGV),
        Sig::TERM => Some(Signal::SIGTERM),
        Sig::USR1 => Some(Signal::SIGUSR1),
        Sig::Custom(name) if name == "USR2" => Some(Signal::SIGUSR2),
        Sig::Custom(_) => None,
    }
}

async fn copy_some<R: AsyncRead + Unpin>(from: Option<R>, to: &ChannelWriteHalf<Msg>, kind: Option<u32>) {
    if let Some(from) = from {
        copy(from, to, kind).await;
    }
}

async fn copy<R: AsyncRead + Unpin>(mut from: R, to: &ChannelWriteHalf<Msg>, kind: Option<u32>) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let data = buffer[..count].to_vec();
        let sent = match kind {
            None => to.data_bytes(data).await,
            Some(kind) => to.extended_data_bytes(kind, data).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn finish(handle: &Handle, id: ChannelId, status: io::Result<ExitStatus>) {
    let _ = handle.eof(id).await;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => {
                let _ = handle.exit_status_request(id, u32::try_from(code).unwrap_or(255)).await;
            }
            (None, signal) => {
                let name = signal.and_then(|signal| Signal::try_from(signal).ok());
                let name = name.map_or("KILL", |signal| signal.as_str().trim_start_matches("SIG"));
                let signal = Sig::Custom(name.to_owned());
                let dumped = status.core_dumped();
                let _ = handle.exit_signal_request(id, signal, dumped, String::new(), String::new()).await;
            }
        },
        Err(_) => {
            let _ = handle.exit_status_request(id, 255).await;
        }
    }
    let _ = handle.close(id).await;
}
