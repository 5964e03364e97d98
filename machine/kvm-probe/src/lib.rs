//! Tells whether /dev/kvm runs code at the speed of hardware.
//!
//! A device that opens, has the right version and makes virtual machines may still emulate every
//! instruction in software, a thousand times slower than QEMU's own translator. So this runs a
//! short loop in a real virtual processor and looks at the time that took. It never starts QEMU.

#![allow(unsafe_code, reason = "KVM is ioctls and shared memory")]

#[cfg(target_arch = "x86_64")]
mod x86;

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Processor time that the loop may take. Hardware needs about a millisecond; a processor that is
/// emulated in software was seen to take 300 ms.
pub const LIMIT: Duration = Duration::from_millis(50);

/// When to stop waiting for the loop, however loaded this workstation is.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// The outcome of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether to use KVM.
    pub usable: bool,
    /// Why, in one sentence.
    pub reason: String,
}

impl Verdict {
    fn no(reason: impl Into<String>) -> Self {
        Self { usable: false, reason: reason.into() }
    }
}

/// Probes a KVM device node.
#[must_use]
pub fn probe(device: &Path) -> Verdict {
    let (sender, receiver) = mpsc::channel();
    let path = device.to_owned();
    // If it overruns, the thread is left behind: nothing else can interrupt a virtual processor
    // without a signal handler, and the loop is finite.
    let spawned = thread::Builder::new().name("kvm-probe".into()).spawn(move || {
        // The receiver may have given up.
        let _ = sender.send(run(&path));
    });
    if let Err(error) = spawned {
        return Verdict::no(format!("no thread to probe in: {error}"));
    }
    receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        Verdict::no(format!("a loop in a virtual processor did not end within {} s", DEADLINE.as_secs()))
    })
}

#[cfg(target_arch = "x86_64")]
fn run(device: &Path) -> Verdict {
    match x86::time_loop(device) {
        Err(reason) => Verdict::no(reason),
        Ok(taken) if taken > LIMIT => Verdict::no(format!(
            "{}: a loop took {} ms in a virtual processor, {} at most on hardware",
            device.display(),
            taken.as_millis(),
            LIMIT.as_millis()
        )),
        Ok(taken) => Verdict {
            usable: true,
            reason: format!("a loop took {} µs in a virtual processor", taken.as_micros()),
        },
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn run(_device: &Path) -> Verdict {
    Verdict::no("the probe knows x86_64 only")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_file_that_only_looks_like_a_device_is_not_usable() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("kvm");
        assert!(probe(&path).reason.contains("No such file"));
        std::fs::write(&path, b"").expect("a file");
        let verdict = probe(&path);
        assert!(!verdict.usable && verdict.reason.contains("KVM_GET_API_VERSION"), "{}", verdict.reason);
    }

    #[test]
    fn a_verdict_on_this_workstation_comes_within_its_deadline() {
        let start = Instant::now();
        let verdict = probe(Path::new("/dev/kvm"));
        assert!(start.elapsed() < DEADLINE + Duration::from_secs(1));
        assert!(!verdict.reason.is_empty());
        println!("{verdict:?} after {:?}", start.elapsed());
    }
}
