//! Growing a mounted ext4 to the size of its device.
#![allow(unsafe_code, reason = "the resize request of ext4 is an ioctl that no crate wraps")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::size_of;

/// The block size of the filesystems made here.
const BLOCK: u64 = 4096;

mod request {
    nix::ioctl_write_ptr!(resize_ext4, b'f', 16, u64);
}

/// Grows the ext4 mounted at `mounted` to fill `device`. Does nothing if it already does.
///
/// # Errors
/// The device cannot be opened or the kernel refuses.
pub fn grow_ext4(mounted: &Path, device: &Path) -> io::Result<()> {
    let blocks = size_of(&mut File::open(device)?)? / BLOCK;
    let directory = File::open(mounted)?;
    // SAFETY: the descriptor is open for the whole call, and `blocks` is the u64 that the request reads.
    unsafe { request::resize_ext4(directory.as_raw_fd(), &raw const blocks) }?;
    Ok(())
}
