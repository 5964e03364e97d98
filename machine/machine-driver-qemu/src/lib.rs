//! Machines as QEMU processes of this user: no daemon, no root, nothing listening but on loopback.
//!
//! A machine is a folder: a disk, a config, sockets, logs. QEMU is started detached in it, with
//! relative names only, so the folder can move. Who runs is told by QEMU itself: it answers on the
//! machine's socket with the machine's UUID. A pid alone proves nothing.
//!
//! Deliberately not here: keys, certificates, ssh, the store's records.

mod accel;
mod check;
mod command;
mod config;
mod control;
mod driver;
mod forward;
mod kernel_arguments;
mod process;
mod qcow2;
mod qmp;
mod ready;

pub use accel::{Accel, Verdict};
pub use config::{ENGINE_PORT, FLEET_PORT, KV_PORT, Network, PortRange, QemuConfig, SSH_PORT, mac};
pub use control::{sweep, sweep_orphans};
pub use driver::QemuDriver;
pub use qcow2::empty as empty_disk;
pub use qmp::{Qmp, QmpError};

/// Name of the driver, as after `-d`.
pub const NAME: &str = "qemu";

/// Files in a machine's folder.
pub mod files {
    /// The Ignition config, secret.
    pub const CONFIG: &str = "config.ign";
    /// The state disk.
    pub const DISK: &str = "disk.qcow2";
    /// What the guest's console said since the last start.
    pub const SERIAL: &str = "serial.log";
    /// What the guest reported since the last start.
    pub const REPORT: &str = "report.log";
    /// What QEMU itself said.
    pub const QEMU_LOG: &str = "qemu.log";
    /// Control socket, for whoever holds the machine's lock.
    pub const CONTROL: &str = "qmp.sock";
    /// Control socket for short questions.
    pub const QUERY: &str = "query.sock";
    /// The guest's console.
    pub const CONSOLE: &str = "serial.sock";
    /// QEMU's process id.
    pub const PID: &str = "qemu.pid";
}
