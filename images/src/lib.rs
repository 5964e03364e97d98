//! Assembles releases: kernel, initramfs, read-only root and manifest.
//!
//! A release is a directory of three files that any machine boots as they are. Building one needs no
//! root rights, installs nothing and starts nothing but `apt-get`, `dpkg-deb` and `cargo`. The same
//! inputs give the same bytes. Nothing is printed: progress goes to the caller.

mod cpio;
mod facts;
pub mod kernel;
mod modinfo;
mod modules;
mod package;
pub mod programs;
mod release;
mod rootfs;
mod sign;
mod squashfs;
mod tree;

pub use facts::Facts;
pub use package::PackageError;
pub use release::{BuildError, Options, Release, build};
pub use sign::{SignError, VerifyError, verify};

/// Told what happens next, in a few words, as often as something starts.
pub type Progress<'a> = &'a dyn Fn(&str);
