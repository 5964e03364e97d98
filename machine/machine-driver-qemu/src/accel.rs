//! Which accelerator to use, by a probe that runs code, with the verdict remembered until this
//! workstation boots again.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::str::FromStr;

use machine_core::driver::DriverError;
use machine_store::write_atomic;
use serde::{Deserialize, Serialize};

const DEVICE: &str = "/dev/kvm";

/// What the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// KVM where it really works, else TCG.
    #[default]
    Auto,
    /// KVM, or fail.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl FromStr for Accel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(format!("`{text}` is no accelerator: use auto, kvm or tcg")),
        }
    }
}

/// Which accelerator to use and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is KVM.
    pub kvm: bool,
    /// One sentence.
    pub reason: String,
}

impl Verdict {
    /// The word that QEMU takes.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        if self.kvm { "kvm" } else { "tcg" }
    }
}

/// A probe's outcome with what would make it void.
#[derive(Serialize, Deserialize, PartialEq)]
struct Remembered {
    boot: String,
    device: u64,
    usable: bool,
    reason: String,
}

/// Decides, by the remembered verdict if this workstation did not boot since.
pub(crate) fn choose(wanted: Accel, cache: &Path) -> Result<Verdict, DriverError> {
    match wanted {
        Accel::Tcg => Ok(Verdict { kvm: false, reason: "asked for".into() }),
        Accel::Kvm if !Path::new(DEVICE).exists() => Err(DriverError::check(format!("there is no {DEVICE}"))
            .hint("leave out `--qemu-accel kvm`: `auto` uses KVM where it works, and TCG elsewhere")),
        Accel::Kvm => Ok(Verdict { kvm: true, reason: "asked for".into() }),
        Accel::Auto => {
            let found = recall(cache).unwrap_or_else(|| {
                let verdict = kvm_probe::probe(Path::new(DEVICE));
                remember(cache, verdict.usable, &verdict.reason)
            });
            let reason = if found.usable {
                format!("KVM works: {}", found.reason)
            } else {
                format!("KVM is not usable: {}", found.reason)
            };
            Ok(Verdict { kvm: found.usable, reason })
        }
    }
}

/// Remembers that a guest did not come up under KVM although the probe liked it.
pub(crate) fn distrust(cache: &Path, reason: &str) {
    remember(cache, false, reason);
}

fn recall(cache: &Path) -> Option<Remembered> {
    let found: Remembered = serde_json::from_slice(&fs::read(cache.join("kvm.json")).ok()?).ok()?;
    (found.boot == boot() && found.device == device()).then_some(found)
}

fn remember(cache: &Path, usable: bool, reason: &str) -> Remembered {
    let found = Remembered { boot: boot(), device: device(), usable, reason: reason.to_owned() };
    let text = serde_json::to_vec_pretty(&found).expect("a verdict is plain JSON");
    // A store that was never used has no such folder yet.
    // A store that was never used has no such folder yet; whether it was made shows when it is written to.
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(cache);
    if let Err(error) = write_atomic(&cache.join("kvm.json"), &text, 0o600) {
        tracing::debug!(%error, "verdict on KVM not remembered");
    }
    found
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Device number of the node, or 0 where there is none.
fn device() -> u64 {
    fs::metadata(DEVICE).map_or(0, |metadata| metadata.rdev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_remembered_and_can_be_overruled_by_a_guest_that_hangs() {
        let dir = tempfile::tempdir().expect("a folder");
        let cache = dir.path().join("not/made/yet");
        assert!(recall(&cache).is_none());
        let first = choose(Accel::Auto, &cache).expect("a verdict");
        assert!(first.kvm || first.reason.starts_with("KVM is not usable"));
        assert!(recall(&cache).is_some());
        remember(&cache, true, "fast");
        assert!(choose(Accel::Auto, &cache).expect("a verdict").kvm);
        distrust(&cache, "a guest hung");
        let verdict = choose(Accel::Auto, &cache).expect("a verdict");
        assert_eq!((verdict.kvm, verdict.as_str()), (false, "tcg"));
        assert!(verdict.reason.contains("a guest hung"));
    }

    #[test]
    fn another_boot_makes_a_verdict_void() {
        let dir = tempfile::tempdir().expect("a folder");
        let old = Remembered { boot: "another".into(), device: device(), usable: true, reason: "x".into() };
        fs::write(dir.path().join("kvm.json"), serde_json::to_vec(&old).expect("JSON")).expect("written");
        assert!(recall(dir.path()).is_none());
    }
}
