//! What the first program of a machine and PID 1 proper share: loading modules in a prepared order,
//! mounting, and moving to another root.
//!
//! It knows no config and no network, and links next to nothing, because its binary lives in memory
//! until the root is found.

pub mod loopdev;
pub mod modules;
pub mod mounts;
pub mod root;

/// Where the initramfs keeps the compressed read-only root.
pub const ROOT_IMAGE: &str = "/root.squashfs";

/// The program of the root that becomes PID 1.
pub const INIT: &str = "/usr/bin/hostbox";
