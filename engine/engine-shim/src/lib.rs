//! The process that stands beside each container.
//!
//! `engined` spawns one `engine-shim` per container. It is single-threaded and
//! small, outlives `engined`, and owns what must not be lost when the daemon
//! dies: the container's stdio or terminal, its json log file, its exec
//! sessions and its exit code. [`spec`] is what it is asked to run, [`wire`]
//! how it is spoken to. It knows nothing of images, networks or names.
//!
//! The engine runs it from a sealed memory file, so that a container that gets
//! hold of `/proc/PID/exe` has nothing to write to.

pub mod caps;
mod child;
mod connection;
mod devices;
mod exec;
pub mod failure;
mod init;
mod launch;
mod log;
pub mod overlay;
mod program;
mod rootfs;
pub mod rootpath;
mod server;
mod session;
pub mod spec;
pub mod status;
pub mod sys;
pub mod timestamp;
pub mod user;
pub mod wire;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::failure::{During, Failure};
use crate::log::LogWriter;
use crate::server::Server;
use crate::spec::Spec;
use crate::wire::{Kind, Reply};

pub use rootfs::{mount_root, propagation_flags};

/// `engine-shim STATE-DIRECTORY`, with a control socket as stdin.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let [_, state] = args.as_slice() else {
        eprintln!(
            "error: usage: engine-shim STATE-DIRECTORY\nhint: engined starts it; it is of no use by hand"
        );
        return ExitCode::from(2);
    };
    let control = match prepare_process(Path::new(state)) {
        Ok(control) => UnixStream::from(control),
        Err(error) => {
            eprintln!("error: {}: {}", error.0, error.1);
            return ExitCode::FAILURE;
        }
    };
    match start(&control) {
        Ok(mut server) => match server.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(failure) => {
            let reply = Reply::Failed { code: failure.code, message: failure.message };
            let bytes = wire::message(Kind::Reply, &serde_json::to_vec(&reply).unwrap_or_default());
            let _ = std::io::Write::write_all(&mut &control, &bytes);
            ExitCode::FAILURE
        }
    }
}

/// Makes this a process of its own: no inherited descriptor, no session, no
/// dump for others to read, adopter of orphans.
fn prepare_process(state: &Path) -> Result<OwnedFd, (&'static str, std::io::Error)> {
    sys::close_from(3);
    let control = sys::take_inherited(0).map_err(|e| ("stdin is no control socket", e))?;
    let null = sys::openat2(sys::CWD, PathBuf::from("/dev/null"), libc::O_RDWR, 0, 0)
        .map_err(|e| ("/dev/null", e))?;
    sys::dup_to(std::os::fd::AsFd::as_fd(&null), 0).map_err(|e| ("stdin", e))?;
    // It was executed by number, which would be its name otherwise.
    sys::set_process_name(c"engine-shim");
    sys::setsid();
    sys::ignore_signal(libc::SIGPIPE);
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
        sys::ignore_signal(signal);
    }
    sys::prctl(libc::PR_SET_DUMPABLE, 0).map_err(|e| ("prctl", e))?;
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map_err(|e| ("prctl", e))?;
    std::env::set_current_dir(state).map_err(|e| ("state directory", e))?;
    Ok(control)
}

fn start(control: &UnixStream) -> Result<Server, Failure> {
    let text = std::fs::read(wire::SPEC_FILE).during(|| "reading the spec".into())?;
    let spec: Spec = serde_json::from_slice(&text)
        .map_err(|error| Failure::new(failure::SETUP, format!("reading the spec: {error}")))?;
    let signals = sys::child_signal_fd().during(|| "signalfd".into())?;
    let mut container = launch::clone_container(&spec, Path::new("."))?;
    // While the child sets itself up:
    let listener = UnixListener::bind(wire::SOCKET_FILE).during(|| "binding the shim's socket".into())?;
    let log = LogWriter::open(&spec.log).during(|| "opening the log file".into())?;
    let control = control.try_clone().during(|| "control socket".into())?;
    container.await_setup()?;
    Server::new(spec, container, log, listener, signals, control).during(|| "starting to serve".into())
}
