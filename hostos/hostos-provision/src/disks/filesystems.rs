//! Filesystems of a config: kept when they match, made when the config allows it.

use std::path::Path;

use hostos_config::Filesystem;

use super::{DiskError, failed};
use crate::filesystem::{Format, Found, Marks, make_filesystem, probe};

/// What is to be done with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Make,
    Wipe,
}

/// What is to be done, or why nothing can be.
pub(super) fn judge(wanted: &Filesystem, device: &Path) -> Result<Verdict, DiskError> {
    let format = wanted.format.as_deref().unwrap_or_default();
    if format.is_empty() {
        return Ok(Verdict::Keep);
    }
    let wipe = wanted.wipe_filesystem == Some(true);
    if format == "none" {
        return Ok(if wipe { Verdict::Wipe } else { Verdict::Keep });
    }
    let found = probe(device).map_err(failed("read", device))?;
    if wipe || found.format.is_empty() {
        return Ok(Verdict::Make);
    }
    if matches(wanted, &found) {
        return Ok(Verdict::Keep);
    }
    let marked = |format: &str, label: &str| match label {
        "" => format.to_owned(),
        label => format!("{format} labelled `{label}`"),
    };
    Err(DiskError::OtherFilesystem {
        device: device.display().to_string(),
        found: marked(&found.format, &found.label),
        wanted: marked(format, wanted.label.as_deref().unwrap_or_default()),
    })
}

fn matches(wanted: &Filesystem, found: &Found) -> bool {
    let same =
        |wanted: Option<&str>, found: &str, fold: bool| match wanted.filter(|wanted| !wanted.is_empty()) {
            None => true,
            Some(wanted) if fold => wanted.eq_ignore_ascii_case(found),
            Some(wanted) => wanted == found,
        };
    let vfat = found.format == "vfat";
    same(wanted.format.as_deref(), &found.format, false)
        && same(wanted.label.as_deref(), &found.label, vfat)
        && same(wanted.uuid.as_deref(), &found.uuid, true)
}

/// Makes the filesystem if it is not there as wanted.
pub(super) fn make(wanted: &Filesystem, device: &Path) -> Result<(), DiskError> {
    match judge(wanted, device)? {
        Verdict::Keep => Ok(()),
        Verdict::Wipe => wipe(device),
        Verdict::Make => {
            let Some(format) = wanted.format.as_deref().and_then(Format::from_name) else { return Ok(()) };
            let marks = Marks { label: wanted.label.as_deref(), uuid: wanted.uuid.as_deref() };
            Ok(make_filesystem(device, format, &marks)?)
        }
    }
}

fn wipe(device: &Path) -> Result<(), DiskError> {
    let mut file =
        std::fs::OpenOptions::new().read(true).write(true).open(device).map_err(failed("open", device))?;
    let size = crate::filesystem::size_of(&mut file).map_err(failed("measure", device))?;
    crate::filesystem::wipe_signatures(&file, size).map_err(failed("wipe", device))
}
