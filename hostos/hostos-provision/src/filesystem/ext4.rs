//! ext4, by the crate `ext4-format`.

use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use ext4_format::{FormatError, Options, format};

use super::{FilesystemError, Marks, uuid_of};

pub(super) fn make(file: &File, device: &str, size: u64, marks: &Marks<'_>) -> Result<(), FilesystemError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let options = Options {
        label: marks.label.unwrap_or_default().into(),
        uuid: *uuid_of(marks, "ext4")?.as_bytes(),
        time: u32::try_from(now).unwrap_or(u32::MAX),
    };
    let failed = |source| FilesystemError::Device { device: device.into(), source };
    let mut file = file.try_clone().map_err(failed)?;
    format(&mut file, size, &options).map_err(|error| match error {
        FormatError::TooSmall(size) => {
            FilesystemError::TooSmall { device: device.into(), size, format: "ext4" }
        }
        FormatError::Label(label) => FilesystemError::BadLabel { label, format: "ext4" },
        FormatError::Write(source) => FilesystemError::Device { device: device.into(), source },
        other @ FormatError::TooLarge(_) => {
            FilesystemError::Device { device: device.into(), source: std::io::Error::other(other) }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::{Format, make_filesystem, probe};
    use super::*;

    #[test]
    fn e2fsck_finds_nothing_wrong_and_the_marks_are_read_back() {
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        for size in [16 << 20, 200 << 20, (3 << 30) + 4096_u64] {
            let image = tempfile::NamedTempFile::new().expect("a temporary file");
            image.as_file().set_len(size).expect("it is sparse");
            let marks = Marks { label: Some("STATE"), uuid: Some(uuid) };
            make_filesystem(image.path(), Format::Ext4, &marks).expect("it is made");
            let found = probe(image.path()).expect("it can be read");
            assert_eq!(
                (found.format.as_str(), found.label.as_str(), found.uuid.as_str()),
                ("ext4", "STATE", uuid)
            );
            let Ok(check) = Command::new("/usr/sbin/e2fsck").args(["-f", "-n"]).arg(image.path()).output()
            else {
                must_run::skip("e2fsck is not installed (apt-get install e2fsprogs)");
                return;
            };
            assert!(check.status.success(), "{size}: {}", String::from_utf8_lossy(&check.stdout));
        }
    }

    #[test]
    fn a_device_without_room_is_refused() {
        let image = tempfile::NamedTempFile::new().expect("a temporary file");
        image.as_file().set_len(1 << 20).expect("it is sparse");
        let error = make_filesystem(image.path(), Format::Ext4, &Marks::default()).expect_err("too small");
        assert!(error.to_string().ends_with("has 1048576 bytes, too few for ext4"), "{error}");
    }
}
