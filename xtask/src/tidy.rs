//! `cargo xtask tidy`: what no lint can say. Each rule returns its findings; all are printed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cargo;

/// Areas, and the crates of other areas that each may use. An area may always use itself.
const EDGES: &[(&str, &[&str])] = &[
    ("machine", &["hostos-api", "hostos-config", "kv-discovery", "kv-client", "engine-client", "fleet-join"]),
    ("hostos", &["fleet-join"]),
    ("engine", &[]),
    ("kv", &[]),
    ("fleetd", &["kv-client", "kv-api", "kv-discovery", "unit-file", "units-api"]),
    ("images", &["hostos-api"]),
    ("tests", &["hostos-api"]),
];

/// Crates of no area's own business, which every area may use.
const EVERYWHERE: &[&str] = &["go-template", "must-run", "quiet-stdout"];

/// hostbox alone links every daemon's library.
const LINKS_EVERYTHING: &[&str] = &["hostbox", "xtask"];

/// Crates that take time, disk and network as arguments, and what that forbids them.
const PURE: &[&str] = &[
    "fleet-core",
    "fleet-unit",
    "hostos-api",
    "hostos-config",
    "kv-core",
    "machine-core",
    "machine-types",
    "unit-file",
];
const IMPURE: &[&str] =
    &["hyper", "nix", "redb", "reqwest", "rtnetlink", "rustix", "russh", "tokio", "tonic"];

const VAGUE_NAMES: &[&str] = &["common", "helper", "helpers", "misc", "shared", "util", "utils"];

const LICENSES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "WTFPL",
    "Zlib",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    license: Option<String>,
    license_file: Option<String>,
    manifest_path: std::path::PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Runs every rule; an error lists all findings.
pub(crate) fn run() -> Result<()> {
    let text = cargo::output(&mut cargo::cargo([
        "metadata",
        "--format-version=1",
        "--all-features",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]))?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cargo metadata printed something unexpected")?;
    let members: BTreeSet<&str> = metadata.workspace_members.iter().map(String::as_str).collect();
    let (ours, theirs): (Vec<&Package>, Vec<&Package>) =
        metadata.packages.iter().partition(|package| members.contains(package.id.as_str()));
    let sources = tracked_sources()?;

    let mut findings = Vec::new();
    findings.extend(wrong_edges(&ours));
    findings.extend(impure_cores(&ours));
    findings.extend(misplaced_crates(&ours));
    findings.extend(vague_names(&sources));
    findings.extend(headless_files(&sources)?);
    findings.extend(unlisted_licenses(&theirs));
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    bail!("tidy found {} places to mend", findings.len())
}

/// The first folder below the root that a crate lies in.
fn area(package: &Package) -> Option<String> {
    let inside = package.manifest_path.strip_prefix(cargo::root()).ok()?;
    Some(inside.components().next()?.as_os_str().to_string_lossy().into_owned())
}

fn wrong_edges(ours: &[&Package]) -> Vec<String> {
    let areas: BTreeMap<&str, String> =
        ours.iter().filter_map(|package| Some((package.name.as_str(), area(package)?))).collect();
    let mut findings = Vec::new();
    for package in ours.iter().filter(|package| !LINKS_EVERYTHING.contains(&package.name.as_str())) {
        let from = &areas[package.name.as_str()];
        let allowed = EDGES.iter().find(|(area, _)| area == from).map_or(&[][..], |(_, allowed)| allowed);
        for dependency in &package.dependencies {
            let Some(to) = areas.get(dependency.name.as_str()) else { continue };
            let name = dependency.name.as_str();
            if to != from && !allowed.contains(&name) && !EVERYWHERE.contains(&name) {
                findings.push(format!(
                    "{} ({from}) depends on {} ({to}): areas meet only at the wires in ARCHITECTURE.md",
                    package.name, dependency.name
                ));
            }
        }
    }
    findings
}

fn impure_cores(ours: &[&Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in ours.iter().filter(|package| PURE.contains(&package.name.as_str())) {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind.is_none()) {
            if IMPURE.contains(&dependency.name.as_str()) {
                findings.push(format!("{} is pure and must not depend on {}", package.name, dependency.name));
            }
        }
    }
    findings
}

fn misplaced_crates(ours: &[&Package]) -> Vec<String> {
    let root = cargo::root();
    let mut findings = Vec::new();
    for package in ours {
        let folder = package.manifest_path.parent().unwrap_or(Path::new("/"));
        let depth = folder.strip_prefix(&root).map_or(9, |inside| inside.components().count());
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let expected = if package.name == "system-tests" { "tests" } else { &package.name };
        if depth > 2 || name != expected {
            findings.push(format!(
                "crate {} lies in {}: two levels, folder = name",
                package.name,
                folder.display()
            ));
        }
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap_or_default();
        if !manifest.contains("[lints]\nworkspace = true") && !manifest.contains("lints.workspace = true") {
            findings.push(format!("crate {} does not take the workspace's lints", package.name));
        }
    }
    findings
}

fn vague_names(sources: &[String]) -> Vec<String> {
    let vague = |part: &str| VAGUE_NAMES.contains(&part.strip_suffix(".rs").unwrap_or(part));
    sources
        .iter()
        .filter(|path| path.split('/').any(|part| vague(part) || part.split('-').any(vague)))
        .map(|path| format!("{path}: name it for its job, not `common` or `util`"))
        .collect()
}

fn headless_files(sources: &[String]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for path in sources {
        let text = match std::fs::read_to_string(cargo::root().join(path)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("could not read {path}")),
        };
        if !text.starts_with("//!") {
            findings.push(format!("{path}: open the file with `//!`: what it is, what it does not do"));
        }
    }
    Ok(findings)
}

fn unlisted_licenses(theirs: &[&Package]) -> Vec<String> {
    let allowed = |license: spdx::LicenseItem| license.id().is_some_and(|id| LICENSES.contains(&id.name));
    let fits = |text: &str| {
        spdx::Expression::parse_mode(text, spdx::ParseMode::LAX)
            .is_ok_and(|expression| expression.evaluate(|requirement| allowed(requirement.license.clone())))
    };
    theirs
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(fits))
        .map(|package| {
            let said = package.license.as_deref().or(package.license_file.as_deref()).unwrap_or("nothing");
            format!("dependency {} is licensed under `{said}`, which is not in the allow list", package.name)
        })
        .collect()
}

/// The Rust files that git knows or would add.
fn tracked_sources() -> Result<Vec<String>> {
    let mut command = Command::new("git");
    command
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(cargo::root());
    Ok(cargo::output(&mut command)?.lines().map(str::to_owned).collect())
}
