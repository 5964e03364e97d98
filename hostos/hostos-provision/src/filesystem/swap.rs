//! Swap space: one page that says so.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::{FilesystemError, Marks, label_of, uuid_of};

const PAGE: usize = 4096;
const MAGIC: &[u8] = b"SWAPSPACE2";
const MIN_PAGES: u64 = 10;

pub(super) fn make(file: &File, device: &str, size: u64, marks: &Marks<'_>) -> Result<(), FilesystemError> {
    let pages = size / PAGE as u64;
    if pages < MIN_PAGES {
        return Err(FilesystemError::TooSmall { device: device.into(), size, format: "swap" });
    }
    let mut page = vec![0; PAGE];
    let last_page = u32::try_from(pages - 1).unwrap_or(u32::MAX);
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&last_page.to_le_bytes());
    page[1036..1052].copy_from_slice(uuid_of(marks, "swap")?.as_bytes());
    page[1052..1068].copy_from_slice(&label_of::<16>(marks, "swap")?);
    page[PAGE - MAGIC.len()..].copy_from_slice(MAGIC);
    file.write_all_at(&page, 0).map_err(|source| FilesystemError::Device { device: device.into(), source })
}
