//! Real containers from a busybox root: the shim and the runtime together.
//!
//! Needs root, busybox and cgroups; each test makes containers with their own
//! namespaces, below a cgroup of its own, and leaves nothing behind.

mod attacks;
mod life;
mod limits;
mod logs;
mod mounts;
mod rig;
mod speed;
