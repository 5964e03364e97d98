//! The release under test, for machines that are started without `rmachine`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A directory with a kernel, an initramfs, a script for iPXE and a manifest.
pub struct Release {
    dir: PathBuf,
    manifest: serde_json::Value,
}

impl Release {
    /// The one of `RMACHINE_IMAGE`, else the one beside the `rmachine` under test.
    ///
    /// # Errors
    /// There is none, or its manifest does not read.
    pub fn find() -> Result<Self> {
        let given = std::env::var_os("RMACHINE_IMAGE").map(PathBuf::from);
        let program = std::env::var_os("RMACHINE_BIN").map(PathBuf::from);
        let built = program.as_deref().and_then(built_beside);
        let dir = given.or(built).context("no release: run `cargo xtask image`, or set RMACHINE_IMAGE")?;
        let text = std::fs::read(dir.join("manifest.json")).context("the release has no manifest")?;
        Ok(Self { manifest: serde_json::from_slice(&text).context("the manifest does not parse")?, dir })
    }

    /// A file of the release by the manifest's own word for it: `kernel` or `initramfs`.
    #[must_use]
    pub fn file(&self, role: &str) -> PathBuf {
        self.dir.join(self.word(role))
    }

    /// The directory of the release.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A word of the manifest, such as `cmdline`.
    #[must_use]
    pub fn word(&self, key: &str) -> &str {
        self.manifest[key].as_str().unwrap_or_default()
    }
}

fn built_beside(program: &Path) -> Option<PathBuf> {
    let candidates = program.ancestors().map(|dir| dir.join("image/vm"));
    candidates.into_iter().find(|dir| dir.join("manifest.json").exists())
}
