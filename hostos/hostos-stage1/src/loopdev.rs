//! Binds a file to a loop device, read-only.
#![allow(unsafe_code, reason = "loop devices are set up by ioctl, which nix has no wrapper for")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CHANGE_FD: libc::Ioctl = 0x4C06;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of the kernel's <linux/loop.h>.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of the kernel's <linux/loop.h>.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A loop device that goes away by itself once nothing holds it open or mounted.
#[derive(Debug)]
pub struct LoopDevice {
    /// Such as `/dev/loop0`.
    pub path: PathBuf,
    _open: File,
}

/// Binds `file` to the next free loop device, read-only.
pub fn attach_read_only(file: &Path) -> io::Result<LoopDevice> {
    let backing = File::open(file)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    // SAFETY: this ioctl takes no argument and returns a number.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let device = File::open(&path)?;
    let config = config_for(&backing);
    // SAFETY: `config` is a whole `struct loop_config` that outlives the call.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(LoopDevice { path, _open: device })
}

/// Puts `file` in the place of the file behind a read-only loop device that is in use. It must hold the
/// same bytes.
pub fn change_backing(device: &Path, file: &File) -> io::Result<()> {
    let device = File::open(device)?;
    // SAFETY: the argument is the number of a descriptor that is open for the time of the call.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CHANGE_FD, file.as_raw_fd()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn config_for(backing: &File) -> LoopConfig {
    // SAFETY: every field is an integer or an array of them, for which zero is a value.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = u32::try_from(backing.as_raw_fd()).expect("an open descriptor is not negative");
    config.info.flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_kernels_size() {
        assert_eq!(std::mem::size_of::<LoopInfo>(), 232);
        assert_eq!(std::mem::size_of::<LoopConfig>(), 304);
    }
}
