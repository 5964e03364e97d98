//! PID 1 of a machine: mounts, modules, state disk, network, config, then the units.
//!
//! [`run`] never returns while it is PID 1. A machine either becomes what its config declares or
//! says in one sentence, on the console and to the one who made it, why it does not.

mod boot;
mod clock;
mod config;
mod early;
mod failure;
mod identity;
mod keep;
mod kernel_arguments;
mod kernel_log;
mod network;
mod power;
mod ready;
mod recovery;
mod report;
mod root_image;
mod space;
mod state;
mod state_disk;
mod system;
mod units;

use std::ffi::OsString;
use std::process::ExitCode;

use nix::sys::signal::SigSet;

use crate::report::Reporter;

/// Becomes PID 1. As any other process it says so and fails.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    // Kernel parameters that the kernel does not know arrive as arguments: they are not for PID 1.
    drop(args);
    if std::process::id() != 1 {
        eprintln!(
            "hostos-init: this is PID 1 of a machine; to check a config, use `hostos ignition validate`"
        );
        return ExitCode::from(2);
    }
    // The supervisor gets signals from the kernel in its own way; no other thread may take them.
    if let Err(error) = SigSet::all().thread_block() {
        eprintln!("hostos-init: cannot block signals: {error}");
    }
    let reporter = Reporter::start();
    failure::report_panics(&reporter);
    boot::boot(&reporter)
}
