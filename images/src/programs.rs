//! Builds the programs of the image with cargo: static, for the image's own target.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target of everything that runs on a machine.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Why the programs are not there.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// cargo itself.
    #[error("cannot run cargo")]
    Cargo(#[source] std::io::Error),
    /// A program does not build.
    #[error("cargo could not build {packages}: {reason}")]
    Build {
        /// The packages asked for.
        packages: String,
        /// The compiler's first error.
        reason: String,
    },
}

/// The static programs that an image is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `/init` of the initramfs.
    pub stage1: PathBuf,
    /// Every program of the userland.
    pub hostbox: PathBuf,
    /// The process that stands between the engine and one container, once it exists.
    pub engine_shim: Option<PathBuf>,
}

/// Builds the programs of the workspace at `workspace` in release mode.
///
/// `CARGO_TARGET_DIR` is honoured. The flags differ from those of an ordinary build, and cargo keeps
/// builds for an explicit target apart, so this does not throw anyone's other builds away.
///
/// `also` names packages to build in the same breath: what they share with the image's programs is
/// then built once, with the same features.
pub fn build(
    workspace: &Path,
    also: &[&str],
    progress: crate::Progress<'_>,
) -> Result<Programs, ProgramsError> {
    let shim = workspace.join("engine/engine-shim/src/main.rs").exists();
    let mut packages = vec!["hostos-stage1", "hostbox"];
    packages.extend(shim.then_some("engine-shim"));
    packages.extend(also);
    progress(&format!("building {} (static)", packages.join(", ")));
    cargo(workspace, &packages, progress)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let dir = workspace.join(target).join(TARGET).join("release");
    Ok(Programs {
        stage1: dir.join("hostos-stage1"),
        hostbox: dir.join("hostbox"),
        engine_shim: shim.then(|| dir.join("engine-shim")),
    })
}

fn cargo(workspace: &Path, packages: &[&str], progress: crate::Progress<'_>) -> Result<(), ProgramsError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--target", TARGET]).current_dir(workspace);
    command.env("RUSTFLAGS", "-C target-feature=+crt-static").env("CARGO_TERM_COLOR", "never");
    crate::Facts::of(workspace).tell(&mut command);
    // What cargo told the program that calls this is not for build scripts: they would run anew.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    for package in packages {
        command.args(["--package", package]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(ProgramsError::Cargo)?;
    let mut first_error = None;
    let stderr = child.stderr.take().expect("it was asked for");
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.trim_start().starts_with("Compiling") {
            progress(line.trim());
        } else if line.starts_with("error") && first_error.is_none() {
            first_error = Some(line);
        }
    }
    if child.wait().map_err(ProgramsError::Cargo)?.success() {
        return Ok(());
    }
    let reason = first_error.unwrap_or_else(|| "it gave no reason".to_owned());
    Err(ProgramsError::Build { packages: packages.join(", "), reason })
}
