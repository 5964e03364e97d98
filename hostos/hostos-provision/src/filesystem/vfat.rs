//! vfat, by the crate `fatfs`.

use std::fs::File;
use std::io;

use fatfs::{FormatVolumeOptions, format_volume};

use super::{FilesystemError, Marks};

const LABEL_LENGTH: usize = 11;

pub(super) fn make(file: &File, device: &str, marks: &Marks<'_>) -> Result<(), FilesystemError> {
    let mut options = FormatVolumeOptions::new().volume_id(volume_id(marks)?);
    if let Some(label) = marks.label.filter(|label| !label.is_empty()) {
        options = options.volume_label(label_field(label)?);
    }
    let failed = |source| FilesystemError::Device { device: device.into(), source };
    let mut buffered = fscommon_buffer(file).map_err(failed)?;
    format_volume(&mut buffered, options).map_err(failed)?;
    io::Write::flush(&mut buffered).map_err(failed)
}

/// fatfs reads and writes fields one by one; they are gathered here.
fn fscommon_buffer(file: &File) -> io::Result<Gathered> {
    Ok(Gathered { inner: io::BufWriter::with_capacity(64 * 1024, file.try_clone()?) })
}

struct Gathered {
    inner: io::BufWriter<File>,
}

impl io::Read for Gathered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Write::flush(&mut self.inner)?;
        self.inner.get_mut().read(buffer)
    }
}

impl io::Write for Gathered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl io::Seek for Gathered {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

fn volume_id(marks: &Marks<'_>) -> Result<u32, FilesystemError> {
    let Some(uuid) = marks.uuid.filter(|uuid| !uuid.is_empty()) else { return Ok(rand::random()) };
    let digits = uuid.replace('-', "");
    let id = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 8);
    id.ok_or_else(|| FilesystemError::BadUuid { uuid: uuid.into(), format: "vfat" })
}

/// A label padded with spaces, in capitals as FAT wants it.
fn label_field(label: &str) -> Result<[u8; LABEL_LENGTH], FilesystemError> {
    let mut field = [b' '; LABEL_LENGTH];
    match field.get_mut(..label.len()) {
        Some(room) => room.copy_from_slice(label.to_ascii_uppercase().as_bytes()),
        None => return Err(FilesystemError::BadLabel { label: label.into(), format: "vfat" }),
    }
    Ok(field)
}
