//! Kernel arguments that the config wants and the kernel was not started with.
//!
//! Nothing in a machine can change its own kernel's arguments: whoever starts it gives them. So the
//! machine asks, on the port that reports go to, and restarts once; rmachine starts it again with
//! what it asked for. That it has asked is noted on the state disk, so that it never asks twice: where
//! nobody listens (a PXE server, a boot loader), the second boot says in one sentence what to do, and
//! a machine without a disk to remember by says so at once.
//!
//! Starting the new kernel from the old one (kexec) would work without anyone's help, but a machine has
//! no copy of its kernel: QEMU and PXE hand it over outside of any filesystem.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hostos_api::{Failure, Report, Stage};
use hostos_config::KernelArguments;
use nix::sys::reboot::RebootMode;

use crate::report::Reporter;
use crate::state::State;
use crate::{failure, keep, system};

const ASKED: &str = "/var/lib/hostos/kernel-arguments-asked";

/// Asks for a start with the arguments, or says why that would be of no use. `wanted` is the whole
/// command line that would be right.
pub(crate) fn ask(reporter: &Reporter, state: &State, arguments: &KernelArguments, wanted: &str) -> Failure {
    let failure = |message: String| Failure {
        stage: Stage::Ignition,
        message,
        hint: format!("start the machine with `{wanted}`"),
    };
    if *state == State::Memory {
        return failure(
            "the config wants other kernelArguments than this kernel runs with, and a machine without a state \
             disk cannot restart for them"
                .to_owned(),
        );
    }
    if Path::new(ASKED).exists() {
        return failure(
            "the config wants other kernelArguments than this kernel runs with, and restarting did not bring them: \
             whatever starts this machine has to be told"
                .to_owned(),
        );
    }
    if let Err(error) = keep::replace(Path::new(ASKED), "asked\n") {
        return failure(format!("cannot note on the state disk that the machine restarts: {error}"));
    }
    println!("rmachine: restarting once, for the kernelArguments that the config wants");
    reporter.send(Report::Restart {
        should_exist: arguments.should_exist.clone(),
        should_not_exist: arguments.should_not_exist.clone(),
    });
    reporter.flush(Duration::from_secs(2));
    failure::forget();
    crate::state::unmount();
    system::end(RebootMode::RB_AUTOBOOT)
}

/// The arguments are right: a config to come may ask anew.
pub(crate) fn settled() {
    // Mostly there is none.
    let _ = fs::remove_file(ASKED);
}
