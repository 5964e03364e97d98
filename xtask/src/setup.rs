//! `cargo xtask setup`: the Debian packages that the other verbs need, by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cargo;

/// Flags of `setup`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Also fetch the elders that benchmarks and comparison tests run
    #[arg(long)]
    pub(crate) elders: bool,
}

#[derive(Deserialize)]
struct Packages {
    install: BTreeMap<String, String>,
    unpack: BTreeMap<String, String>,
}

/// Installs what is missing; a second run finds nothing to do and says nothing.
pub(crate) fn run(args: &Args) -> Result<()> {
    let packages: Packages =
        toml::from_str(include_str!("../packages.toml")).context("xtask/packages.toml does not parse")?;
    install(&packages.install)?;
    ensure_nextest()?;
    if args.elders {
        unpack(&packages.unpack)?;
    }
    Ok(())
}

/// Where the elders are unpacked; below it `usr/bin` and `usr/sbin`.
pub(crate) fn elders_dir() -> PathBuf {
    cargo::target_dir().join("elders")
}

/// PATH with the elders' programs behind everything else.
pub(crate) fn path_with_elders() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let elders = elders_dir();
    let dirs = std::env::split_paths(&path).chain([
        elders.join("usr/bin"),
        elders.join("usr/sbin"),
        "/usr/sbin".into(),
        "/sbin".into(),
    ]);
    std::env::join_paths(dirs).unwrap_or(path)
}

fn install(packages: &BTreeMap<String, String>) -> Result<()> {
    let missing: Vec<&str> = packages.keys().map(String::as_str).filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !is_root()? {
        bail!("these Debian packages are missing; run this line as root, then try again:\n  {line}");
    }
    eprintln!("installing {}", missing.join(" "));
    apt(&["update", "-q"])?;
    let mut words = vec!["install", "-y", "-q", "--no-install-recommends"];
    words.extend(&missing);
    if apt(&words).is_ok() {
        return Ok(());
    }
    // A qemu-utils from backports breaks stable's qemu-system-x86: take stable's of both.
    words.extend(["--allow-downgrades", "qemu-utils/bookworm"]);
    apt(&words).with_context(|| format!("could not install packages; try by hand: {line}"))
}

fn apt(words: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
    cargo::run(&mut command)
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout.ends_with(b"ok installed"))
}

fn is_root() -> Result<bool> {
    Ok(cargo::output(Command::new("id").arg("-u"))?.trim() == "0")
}

fn ensure_nextest() -> Result<()> {
    let there = Command::new("cargo-nextest").arg("--version").stdout(Stdio::null()).status().is_ok();
    if there {
        return Ok(());
    }
    eprintln!("installing cargo-nextest (some minutes, once)");
    cargo::run(&mut cargo::cargo(["install", "--locked", "--quiet", "cargo-nextest"]))
}

fn unpack(packages: &BTreeMap<String, String>) -> Result<()> {
    let dir = elders_dir();
    let marks = dir.join("packages");
    let missing: Vec<&String> = packages.keys().filter(|name| !marks.join(name).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(&marks).with_context(|| format!("could not make {}", marks.display()))?;
    let debs = dir.join("debs");
    for package in missing {
        eprintln!("unpacking {package}");
        let _ = std::fs::remove_dir_all(&debs);
        std::fs::create_dir_all(&debs).with_context(|| format!("could not make {}", debs.display()))?;
        // apt drops its rights to the user _apt, who may not enter the checkout.
        let download = ["-o", "APT::Sandbox::User=root", "-q", "download", package.as_str()];
        cargo::run(Command::new("apt-get").args(download).current_dir(&debs).stdout(Stdio::null()))
            .with_context(|| format!("could not download `{package}`; is `apt-get update` up to date?"))?;
        for deb in std::fs::read_dir(&debs)? {
            cargo::run(Command::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(&dir))?;
        }
        std::fs::write(marks.join(package), "")?;
    }
    let _ = std::fs::remove_dir_all(&debs);
    Ok(())
}
