//! Units and drop-ins: names, and texts that a unit parser can read.

use super::Findings;
use super::unit_text::{self, Outline};
use crate::types::{Systemd, Unit};

const SUFFIXES: [&str; 12] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "snapshot",
    "slice",
    "scope",
];

pub(super) fn check(findings: &mut Findings, systemd: &Systemd) {
    for (index, wanted) in systemd.units.iter().enumerate() {
        unit(findings, &format!("$.systemd.units.{index}"), wanted);
    }
}

fn unit(findings: &mut Findings, at: &str, unit: &Unit) {
    let suffix =
        unit.name.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, suffix)| suffix);
    if !SUFFIXES.contains(&suffix) {
        let hint = "unit names end in .service, .socket, .timer, .target, .path, .mount and the like";
        findings.error_with(format!("{at}.name"), format!("`{}` is no name of a unit", unit.name), hint);
    }
    for (index, dropin) in unit.dropins.iter().enumerate() {
        let at = format!("{at}.dropins.{index}");
        if !dropin.name.ends_with(".conf") {
            findings
                .error(format!("{at}.name"), format!("the drop-in `{}` does not end in .conf", dropin.name));
        }
        text(findings, &format!("{at}.contents"), dropin.contents.as_deref());
    }
    let outline = text(findings, &format!("{at}.contents"), unit.contents.as_deref());
    let installs = outline.is_none_or(|outline| outline.sections.iter().any(|section| section == "Install"));
    if unit.enabled == Some(true) && !installs {
        let message =
            format!("`{}` is enabled but has no [Install] section, so nothing starts it", unit.name);
        findings.warning(format!("{at}.contents"), message);
    }
}

/// What is in a unit text; nothing if there is no text or it cannot be read.
fn text(findings: &mut Findings, at: &str, contents: Option<&str>) -> Option<Outline> {
    let contents = contents.filter(|contents| !contents.is_empty())?;
    match unit_text::outline(contents) {
        Ok(outline) => {
            if let Some(line) = outline.stray {
                findings
                    .warning(at, format!("line {line} of the unit stands before any section and is ignored"));
            }
            Some(outline)
        }
        Err(fault) => {
            findings.error(at, format!("line {} of the unit: {}", fault.line, fault.message));
            None
        }
    }
}
