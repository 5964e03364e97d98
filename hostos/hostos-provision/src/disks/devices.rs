//! Devices by the names that configs use. There is no udev in the image, so the links below
//! `/dev/disk/by-*` are worked out here from the disks themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::DiskError;
use crate::filesystem::probe;

const APPEARS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The device of that name, which must be there.
pub(super) fn find(name: &str) -> Result<PathBuf, DiskError> {
    look(name).ok_or_else(|| DiskError::NoDevice(name.into()))
}

/// The device of that name, which a new partition table may only now bring.
pub(super) fn wait_for(name: &str) -> Result<PathBuf, DiskError> {
    let until = Instant::now() + APPEARS_WITHIN;
    loop {
        match look(name) {
            Some(device) => return Ok(device),
            None if Instant::now() < until => std::thread::sleep(LOOK_EVERY),
            None => return Err(DiskError::NoDevice(name.into())),
        }
    }
}

fn look(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.exists() {
        return Some(path.to_owned());
    }
    let (by, wanted) = name.strip_prefix("/dev/disk/by-")?.split_once('/')?;
    let wanted = unescape(wanted);
    block_devices().into_iter().find(|device| answers_to(device, by, &wanted))
}

/// Every disk and partition, in a fixed order.
fn block_devices() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/class/block") else { return Vec::new() };
    let mut names: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    names.sort();
    names.into_iter().map(|name| Path::new("/dev").join(name)).collect()
}

fn answers_to(device: &Path, by: &str, wanted: &str) -> bool {
    match by {
        "label" => probe(device).is_ok_and(|found| !found.label.is_empty() && found.label == wanted),
        "uuid" => {
            probe(device).is_ok_and(|found| !found.uuid.is_empty() && found.uuid.eq_ignore_ascii_case(wanted))
        }
        "partlabel" => property(device, "PARTNAME").is_some_and(|label| label == wanted),
        "partuuid" => {
            property(device, "PARTUUID").is_some_and(|uuid| uuid.eq_ignore_ascii_case(wanted))
                || super::gpt::partition_guid(device).is_some_and(|guid| guid.eq_ignore_ascii_case(wanted))
        }
        "id" => serial(device).is_some_and(|serial| wanted == format!("virtio-{serial}")),
        _ => false,
    }
}

fn sys(device: &Path) -> PathBuf {
    Path::new("/sys/class/block").join(device.file_name().unwrap_or_default())
}

/// A line of the kernel's own description of the device.
fn property(device: &Path, key: &str) -> Option<String> {
    let text = fs::read_to_string(sys(device).join("uevent")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

/// The disk that a partition is on, and its number there.
pub(super) fn disk_of(partition: &Path) -> Option<(PathBuf, u32)> {
    let number = fs::read_to_string(sys(partition).join("partition")).ok()?.trim().parse().ok()?;
    let disk = fs::canonicalize(sys(partition)).ok()?.parent()?.file_name()?.to_owned();
    Some((Path::new("/dev").join(disk), number))
}

fn serial(device: &Path) -> Option<String> {
    Some(fs::read_to_string(sys(device).join("serial")).ok()?.trim().to_owned())
}

/// udev writes what cannot stand in a file name as `\xNN`.
fn unescape(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[2..]);
            }
            None => text.push_str(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped_as_udev_escapes_them() {
        assert_eq!(unescape(r"my\x20disk"), "my disk");
        assert_eq!(unescape("plain"), "plain");
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = find("/dev/disk/by-partlabel/nothing-has-this").expect_err("nothing has");
        assert_eq!(error.to_string(), "there is no device /dev/disk/by-partlabel/nothing-has-this");
    }
}
