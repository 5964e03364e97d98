//! Units of a config: unit files, drop-ins, masks, and one preset file that says which are enabled.
//!
//! What a preset means is for the supervisor to know, which applies presets on the first boot.

use std::collections::BTreeMap;
use std::io;

use hostos_config::{Systemd, Unit};

use crate::nodes::NodeError;
use crate::root::{Access, Kind, Root};

const UNITS: &str = "/etc/systemd/system";
const PRESETS: &str = "/etc/systemd/system-preset/20-ignition.preset";
const ACCESS: Access = Access { uid: 0, gid: 0, mode: 0o644 };

/// Writes all of them.
pub(crate) fn write_all(root: &Root, systemd: &Systemd) -> Result<(), NodeError> {
    for unit in &systemd.units {
        write(root, unit)?;
    }
    let presets = presets(&systemd.units);
    if presets.is_empty() { Ok(()) } else { put(root, PRESETS, &presets) }
}

fn write(root: &Root, unit: &Unit) -> Result<(), NodeError> {
    for dropin in &unit.dropins {
        if let Some(contents) = dropin.contents.as_deref() {
            put(root, &format!("{UNITS}/{}.d/{}", unit.name, dropin.name), contents)?;
        }
    }
    let path = format!("{UNITS}/{}", unit.name);
    if let Some(contents) = unit.contents.as_deref().filter(|contents| !contents.is_empty()) {
        put(root, &path, contents)?;
    }
    match unit.mask {
        Some(true) => mask(root, &path).map_err(failed(&path)),
        Some(false) => unmask(root, &path).map_err(failed(&path)),
        None => Ok(()),
    }
}

fn put(root: &Root, path: &str, contents: &str) -> Result<(), NodeError> {
    let write = || root.place(path)?.write(ACCESS, |file| io::Write::write_all(file, contents.as_bytes()));
    write().map_err(failed(path))
}

fn mask(root: &Root, path: &str) -> io::Result<()> {
    let place = root.place(path)?;
    place.remove()?;
    place.symlink("/dev/null", 0, 0)
}

/// Removes the link that a mask is; anything else there is the unit itself.
fn unmask(root: &Root, path: &str) -> io::Result<()> {
    let Some(place) = root.find(path)? else { return Ok(()) };
    match place.kind()? {
        Some(Kind::Symlink) if place.link_target()? == "/dev/null" => place.remove(),
        _ => Ok(()),
    }
}

/// The preset file: one line a unit, the instances of a template on one line.
fn presets(units: &[Unit]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut templates: BTreeMap<(String, bool), usize> = BTreeMap::new();
    for unit in units {
        let Some(enabled) = unit.enabled else { continue };
        let verb = if enabled { "enable" } else { "disable" };
        let Some((template, instance)) = instance(&unit.name) else {
            lines.push(format!("{verb} {}", unit.name));
            continue;
        };
        if let Some(line) = templates.get(&(template.clone(), enabled)) {
            lines[*line].push_str(&format!(" {instance}"));
        } else {
            templates.insert((template.clone(), enabled), lines.len());
            lines.push(format!("{verb} {template} {instance}"));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The template and the instance that a unit name consists of.
fn instance(name: &str) -> Option<(String, &str)> {
    let (prefix, rest) = name.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    Some((format!("{prefix}@.{suffix}"), instance))
}

fn failed(path: &str) -> impl FnOnce(io::Error) -> NodeError + use<> {
    let path = path.to_owned();
    move |source| NodeError::Write { path, source }
}
