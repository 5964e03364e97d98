//! The process that stands beside each container.
//!
//! `engined` spawns one `engine-shim` per container. It is single-threaded and
//! small, outlives `engined`, and owns what must not be lost when the daemon
//! dies: the container's stdio or terminal, its json log file, its exec
//! sessions and its exit code. [`spec`] is what it is asked to run, [`wire`]
//! how it is spoken to. It knows nothing of images, networks or names.

pub mod spec;
pub mod wire;
