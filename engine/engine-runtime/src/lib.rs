//! Containers as the engine sees them: prepare, start, watch, limit, enter, clean.
//!
//! ```text
//! let runtime = Runtime::new(RuntimeConfig { state_dir, shim: ShimProgram::Sibling, .. })?;
//! let cgroup  = runtime.make_cgroup(&id, &resources)?;          // dirs + limits, v1/hybrid/v2
//! let spec    = Spec { cgroup: cgroup.spec(), .. };             // engine_shim::spec
//! let c       = runtime.prepare(&spec).await?;                  // shim spawned, mounts made, program waiting
//! let stream  = c.attach(AttachStreams::OUTPUT).await?;         // before start: no byte is lost
//! c.start().await?;                                             // Err(StartError{code: 126|127|128, message})
//! let exit    = c.wait().await;                                 // as many waiters as you like
//! runtime.remove(&id).await?;                                   // cgroup, state directory
//! // after a restart of engined:
//! for id in runtime.list()? { match runtime.adopt(&id).await? { Adopted::Running(c) => .., Adopted::Prepared(c) => .., Adopted::Exited(exit) => .. } }
//! ```
//!
//! `Container` is cheap to clone: `id pid started_at prepare/start/attach/exec/resize/kill/
//! pause/unpause/update/stats/pids/wait/root`. `root()` (running) and
//! `mount_root(&Rootfs, &[Mount])` (stopped) give a [`SafeRoot`]: every path of
//! `docker cp` is opened through it, so that no symlink leads outside.
//! It does not know images, networks (a network namespace is a path in the
//! spec) or the API.

mod cgroup;
mod channel;
mod container;
mod error;
mod limits;
mod program;
mod runtime;
pub mod seccomp;
mod stopped;
mod stream;

pub use cgroup::{CgroupSet, Cgroups};
pub use container::Container;
pub use engine_shim::rootpath::SafeRoot;
pub use engine_shim::{caps, spec, wire::Exit, wire::Started};
pub use error::RuntimeError;
pub use limits::{BlkioDevice, DeviceRule, Resources, Stats};
pub use program::ShimProgram;
pub use runtime::{Adopted, Runtime, RuntimeConfig};
pub use seccomp::default_filter;
pub use stopped::mount_root;
pub use stream::{Chunk, InputStream, OutputStream, SessionStream, Streams};
