//! The unit supervisor: loads systemd's units, queues jobs with systemd's rules, runs and watches
//! processes, keeps the journal, answers `systemctl` and other clients on a socket.
//!
//! One thread and one loop (epoll, signalfd); no runtime. As PID 1 of a machine it is driven by
//! `hostos-init`; with [`Options::below`] it is an ordinary process that keeps to one folder.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut supervisor = hostos_units::Supervisor::new(hostos_units::Options::system())?;
//! supervisor.on_event(|event| println!("{event:?}"));
//! supervisor.start("multi-user.target")?;
//! let remote = supervisor.remote(); // for other threads: remote.shutdown(…)
//! let next = supervisor.run()?; // Poweroff, Reboot, …
//! # let _ = (remote, next);
//! # Ok(())
//! # }
//! ```
//!
//! It does not mount, load modules or set up networks: that is for who runs it. It never reads NSS.

mod arguments;
mod arrivals;
mod builtin;
mod capability;
mod capture;
mod cgroup;
mod clock;
mod conditions;
mod config;
mod control;
mod event;
mod exit;
mod glob;
mod host;
mod install;
mod jobs;
mod journal;
mod journalctl;
mod launch;
mod load;
mod lookup;
mod mount;
mod mounts;
mod notify;
mod options;
mod path;
mod poll;
mod remote;
mod sandbox;
mod service;
mod service_events;
mod show;
mod shutdown;
mod signals;
mod socket;
mod spawn;
mod state_changes;
mod states;
mod supervisor;
mod syslog;
mod systemctl;
mod timer;
mod transaction;
mod unit;
mod wall;
mod words;

pub use event::{Event, SupervisorError};
pub use install::apply_presets;
pub use journalctl::journalctl;
pub use options::Options;
pub use remote::Remote;
pub use supervisor::Supervisor;
pub use systemctl::systemctl;
pub use units_api::{ShutdownAction, UnitState, WireError};
