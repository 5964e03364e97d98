//! How much disk things take.

use std::path::Path;

/// Bytes of the files below a folder; what cannot be read counts nothing.
pub(crate) fn folder_size(path: &Path) -> u64 {
    use std::os::fd::AsFd;
    std::fs::File::open(path).and_then(|dir| engine_image::archive::tree_size(dir.as_fd())).unwrap_or(0)
}
