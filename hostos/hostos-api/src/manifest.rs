//! The manifest of a release: what `images` writes beside kernel and initramfs, what `rmachine` and
//! the machine itself verify before they trust them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// File name of the manifest inside a release directory.
pub const MANIFEST_FILE: &str = "manifest.json";

/// File name of the manifest's ed25519 signature, in base64.
pub const SIGNATURE_FILE: &str = "manifest.json.sig";

/// The only layout of a release that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Which computers a release boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// Virtual machines: a small kernel with virtio only.
    Vm,
    /// Real hardware: a kernel with drivers for it.
    Metal,
}

/// One file of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFile {
    /// Lower-case hex.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// What a release directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of the release; a reader refuses others.
    pub format: u32,
    /// Version of the userland, semver.
    pub version: String,
    /// Which computers it boots.
    pub flavor: Flavor,
    /// `uname -r` of the kernel.
    pub kernel_version: String,
    /// Kernel command line that every boot of this release needs.
    pub cmdline: String,
    /// Name of the kernel among `files`.
    pub kernel: String,
    /// Name of the initramfs among `files`.
    pub initramfs: String,
    /// Every file of the release but the manifest and its signature, by name.
    pub files: BTreeMap<String, ReleaseFile>,
}
