//! Files, directories and links: their paths, owners, modes, and how they stand to each other.

use std::collections::BTreeSet;

use super::{Findings, clean, resources};
use crate::types::{Config, Link, Owner, Storage};

const MAX_MODE: i64 = 0o7777;
const SPECIAL_BITS: i64 = 0o7000;

pub(super) fn check(findings: &mut Findings, config: &Config) {
    let storage = &config.storage;
    for (index, directory) in storage.directories.iter().enumerate() {
        let at = format!("$.storage.directories.{index}");
        node(findings, &at, &directory.path, &directory.user, &directory.group);
        mode(findings, &at, directory.mode);
        below_a_link(findings, &at, &directory.path, storage);
    }
    for (index, file) in storage.files.iter().enumerate() {
        let at = format!("$.storage.files.{index}");
        node(findings, &at, &file.path, &file.user, &file.group);
        mode(findings, &at, file.mode);
        below_a_link(findings, &at, &file.path, storage);
        resources::resource(findings, &format!("{at}.contents"), &file.contents);
        for (part, resource) in file.append.iter().enumerate() {
            resources::resource(findings, &format!("{at}.append.{part}"), resource);
        }
        if file.overwrite == Some(true) && file.contents.source.is_none() {
            let hint = "give the file a source, `data:,` for an empty one";
            findings.error_with(format!("{at}.overwrite"), "overwrite without a source", hint);
        }
    }
    for (index, wanted) in storage.links.iter().enumerate() {
        let at = format!("$.storage.links.{index}");
        node(findings, &at, &wanted.path, &wanted.user, &wanted.group);
        below_a_link(findings, &at, &wanted.path, storage);
        link(findings, &at, wanted, storage);
    }
    against_units(findings, config);
}

fn node(findings: &mut Findings, at: &str, path: &str, user: &Owner, group: &Owner) {
    findings.path(&format!("{at}.path"), path);
    for (key, owner) in [("user", user), ("group", group)] {
        if owner.id.is_some() && owner.name.as_deref().is_some_and(|name| !name.is_empty()) {
            findings.error(format!("{at}.{key}"), "both id and name are given; give one");
        }
    }
}

fn mode(findings: &mut Findings, at: &str, mode: Option<i64>) {
    let Some(mode) = mode else { return };
    let at = format!("{at}.mode");
    if !(0..=MAX_MODE).contains(&mode) {
        let hint = "JSON has no octal numbers: 0644 is written 420, 0755 is 493";
        findings.error_with(at, format!("{mode} is no file mode"), hint);
    } else if mode & SPECIAL_BITS != 0 {
        findings.warning(at, "setuid, setgid and sticky bits are ignored before spec 3.6.0");
    }
}

fn below_a_link(findings: &mut Findings, at: &str, path: &str, storage: &Storage) {
    let below = |link: &&Link| path.strip_prefix(&link.path).is_some_and(|rest| rest.starts_with('/'));
    if let Some(link) = storage.links.iter().find(below) {
        findings.error(at, format!("the path `{path}` goes through the link `{}`", link.path));
    }
}

fn link(findings: &mut Findings, at: &str, link: &Link, storage: &Storage) {
    let target = link.target.as_deref().unwrap_or_default();
    if target.is_empty() {
        return findings.error(format!("{at}.target"), "the target of the link is missing");
    }
    if link.hard != Some(true) {
        return;
    }
    let target =
        if target.starts_with('/') { clean(target) } else { clean(&format!("{}/{target}", link.path)) };
    if storage.directories.iter().any(|directory| directory.path == target) {
        findings.error(at, format!("a hard link to the directory `{target}`"));
    }
    let owner = [("user", &link.user), ("group", &link.group)];
    for (key, owner) in owner {
        if owner.id.is_some() || owner.name.is_some() {
            findings.warning(format!("{at}.{key}"), "a hard link has the owner of its target");
        }
    }
}

/// A path can be written as a file or as a unit, not both.
fn against_units(findings: &mut Findings, config: &Config) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for unit in &config.systemd.units {
        let path = format!("/etc/systemd/system/{}", unit.name);
        for dropin in unit.dropins.iter().filter(|dropin| dropin.contents.is_some()) {
            taken.insert(format!("{path}.d/{}", dropin.name));
        }
        if unit.contents.as_deref().is_some_and(|text| !text.is_empty()) {
            taken.insert(path);
        }
    }
    let storage = &config.storage;
    let directories = storage.directories.iter().map(|directory| &directory.path).enumerate();
    let files = storage.files.iter().map(|file| &file.path).enumerate();
    let links = storage.links.iter().map(|link| &link.path).enumerate();
    let nodes = directories
        .map(|(index, path)| ("directories", index, path))
        .chain(files.map(|(index, path)| ("files", index, path)))
        .chain(links.map(|(index, path)| ("links", index, path)));
    for (list, index, path) in nodes {
        if taken.contains(path) {
            let hint = "say it under systemd.units only";
            findings.error_with(
                format!("$.storage.{list}.{index}.path"),
                format!("`{path}` is a unit of this config too"),
                hint,
            );
        }
    }
}
