//! `--init`: process 1 that reaps orphans and passes signals on.
//!
//! It is the container's first process itself, without an exec: the program
//! runs as its child, and its exit code becomes the container's.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use crate::child;
use crate::failure::Failure;
use crate::rootpath::SafeRoot;
use crate::spec::Spec;
use crate::sys::{self, CloneRequest};
use crate::user::User;

const NAME: &CStr = c"docker-init";

/// Starts the program and stays as process 1 until it ends.
pub(crate) fn run(spec: &Spec, root: &SafeRoot, user: &User, socket: &OwnedFd) -> ! {
    let signals = match sys::block_all_signals() {
        Ok(signals) => signals,
        Err(error) => fail(socket, &Failure::io("init", &error)),
    };
    let main = match sys::clone3(&CloneRequest::default()) {
        Ok(Some(pid)) => pid,
        Ok(None) => {
            sys::reset_signals();
            sys::setsid_and_terminal();
            let failure = match child::finish(spec, root, user) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            fail(socket, &failure)
        }
        Err(error) => fail(socket, &Failure::io("fork", &error)),
    };
    sys::set_process_name(NAME);
    // Nothing of ours stays open here: the shim sees the exec by the socket's end.
    sys::close_from(3);
    let _ = crate::program::drop_privileges(&spec.process, user);
    let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64);
    serve(main, &signals)
}

fn fail(socket: &OwnedFd, failure: &Failure) -> ! {
    child::report_failure(socket, failure);
    sys::exit_now(failure.code)
}

fn serve(main: i32, signals: &sys::SignalSet) -> ! {
    loop {
        match sys::wait_signal(signals) {
            Some(libc::SIGCHLD) | None => {
                let mut ended = None;
                while let Some((pid, status)) = sys::reap() {
                    if pid == main {
                        ended = Some(status);
                    }
                }
                if let Some(status) = ended {
                    sys::exit_now(exit_code(status));
                }
            }
            Some(signal) => drop(sys::kill(main, signal)),
        }
    }
}

/// As a shell reports it.
pub(crate) fn exit_code(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}
