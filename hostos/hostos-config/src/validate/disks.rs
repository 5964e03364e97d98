//! Disks, filesystems and arrays.

use super::Findings;
use crate::types::{Disk, Filesystem, Partition, Raid, Storage};

pub(super) fn check(findings: &mut Findings, storage: &Storage) {
    for (index, wanted) in storage.disks.iter().enumerate() {
        disk(findings, &format!("$.storage.disks.{index}"), wanted);
    }
    for (index, wanted) in storage.filesystems.iter().enumerate() {
        let at = format!("$.storage.filesystems.{index}");
        filesystem(findings, &at, wanted);
        on_a_disk(findings, &at, wanted, &storage.disks);
    }
    for (index, wanted) in storage.raid.iter().enumerate() {
        raid(findings, &format!("$.storage.raid.{index}"), wanted);
    }
}

fn disk(findings: &mut Findings, at: &str, disk: &Disk) {
    if disk.device.is_empty() {
        return findings.error(format!("{at}.device"), "the device of the disk is missing");
    }
    findings.path(&format!("{at}.device"), &disk.device);
    for (index, wanted) in disk.partitions.iter().enumerate() {
        partition(findings, &format!("{at}.partitions.{index}"), wanted);
        let earlier = &disk.partitions[..index];
        collisions(findings, &format!("{at}.partitions.{index}"), wanted, earlier);
    }
    let some_gone = disk.partitions.iter().any(|partition| partition.should_exist == Some(false));
    if some_gone && disk.partitions.iter().any(|partition| partition.number == 0) {
        let message = "a partition that should not exist beside one without a number";
        findings.error_with(format!("{at}.partitions"), message, "number all partitions of the disk");
    }
}

fn partition(findings: &mut Findings, at: &str, partition: &Partition) {
    let attributes = partition.label.is_some()
        || given(partition.type_guid.as_deref())
        || given(partition.guid.as_deref())
        || partition.start_mib.is_some()
        || partition.size_mib.is_some();
    if partition.should_exist == Some(false) && attributes {
        findings.error(at, "a partition that should not exist has label, size, start or GUID");
    }
    if partition.number == 0 && partition.label.is_none() {
        findings.error(at, "a partition needs a number or a label");
    }
    if let Some(label) = partition.label.as_deref() {
        let at = format!("{at}.label");
        if label.len() > 36 {
            findings.error(at, "the label of a partition has at most 36 characters");
        } else if label.contains(':') {
            findings.error(at, "the label of a partition cannot hold a colon");
        }
    }
    for (key, guid) in [("guid", &partition.guid), ("typeGuid", &partition.type_guid)] {
        if let Some(guid) = guid.as_deref().filter(|guid| !guid.is_empty() && !is_guid(guid)) {
            let message = format!("`{guid}` is not of the form 01234567-89AB-CDEF-EDCB-A98765432101");
            findings.error(format!("{at}.{key}"), message);
        }
    }
}

fn given(value: Option<&str>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn collisions(findings: &mut Findings, at: &str, wanted: &Partition, earlier: &[Partition]) {
    if wanted.number != 0 && earlier.iter().any(|other| other.number == wanted.number) {
        findings.error(at, format!("the partition number {} is used twice", wanted.number));
    }
    if let Some(label) = &wanted.label
        && earlier.iter().any(|other| other.label.as_ref() == Some(label))
    {
        findings.error(at, format!("the partition label `{label}` is used twice"));
    }
    if let Some((start, end)) = extent(wanted)
        && earlier.iter().filter_map(extent).any(|(from, to)| start <= to && from <= end)
    {
        findings.error(at, "the partition overlaps another one");
    }
}

/// First and last MiB of a partition that says both.
fn extent(partition: &Partition) -> Option<(i64, i64)> {
    let start = partition.start_mib.filter(|start| *start != 0)?;
    let size = partition.size_mib?;
    Some((start, if size == 0 { start } else { start.saturating_add(size) - 1 }))
}

fn filesystem(findings: &mut Findings, at: &str, wanted: &Filesystem) {
    if let Some(path) = wanted.path.as_deref().filter(|path| !path.is_empty()) {
        findings.path(&format!("{at}.path"), path);
    }
    findings.path(&format!("{at}.device"), &wanted.device);
    let Some(format) = wanted.format.as_deref().filter(|format| !format.is_empty()) else {
        let others = given(wanted.path.as_deref())
            || given(wanted.label.as_deref())
            || given(wanted.uuid.as_deref())
            || wanted.wipe_filesystem == Some(true)
            || !wanted.mount_options.is_empty()
            || !wanted.options.is_empty();
        if others {
            findings.error(format!("{at}.format"), "the filesystem has other settings but no format");
        }
        return;
    };
    let known = match format {
        "ext4" | "btrfs" | "xfs" | "swap" | "vfat" => true,
        "none" => findings.minor >= 3,
        _ => false,
    };
    if !known {
        findings.error(
            format!("{at}.format"),
            format!("the format `{format}` is none of ext4, btrfs, xfs, vfat, swap and none"),
        );
    }
    let limit = match format {
        "ext4" => 16,
        "btrfs" => 256,
        "xfs" => 12,
        "swap" => 15,
        "vfat" => 11,
        _ => usize::MAX,
    };
    if wanted.label.as_ref().is_some_and(|label| label.len() > limit) {
        findings.error(
            format!("{at}.label"),
            format!("the label of a {format} filesystem has at most {limit} characters"),
        );
    }
}

fn on_a_disk(findings: &mut Findings, at: &str, wanted: &Filesystem, disks: &[Disk]) {
    let Some(disk) = disks.iter().find(|disk| disk.device == wanted.device) else { return };
    let at = format!("{at}.device");
    if !disk.partitions.is_empty() {
        findings.warning(at, "the filesystem overwrites the partitions of its disk");
    } else if disk.wipe_table == Some(true) && wanted.wipe_filesystem != Some(true) {
        findings.warning(at, "wipeTable of the disk wipes this filesystem too");
    }
}

fn raid(findings: &mut Findings, at: &str, raid: &Raid) {
    let level = raid.level.as_deref().unwrap_or_default();
    match level {
        "" => findings.error(format!("{at}.level"), "the level of the array is missing"),
        "linear" | "raid0" | "0" | "stripe" => {
            if raid.spares.is_some_and(|spares| spares != 0) {
                findings.error(format!("{at}.level"), format!("an array of level {level} has no spares"));
            }
        }
        "raid1" | "1" | "mirror" | "raid4" | "4" | "raid5" | "5" | "raid6" | "6" | "raid10" | "10" => {}
        _ => findings.error(format!("{at}.level"), format!("there is no array of level `{level}`")),
    }
    if raid.devices.is_empty() {
        findings.error(format!("{at}.devices"), "the array has no devices");
    }
    for (index, device) in raid.devices.iter().enumerate() {
        findings.path(&format!("{at}.devices.{index}"), device);
    }
}
