//! The decisions of rmachine as plain values: what a driver is, how a boot is going, what a new
//! machine is told about itself.
//!
//! Deliberately not here: disk, network, clock, processes. Those live in the drivers, in
//! `machine-store` and in `rmachine`.

pub mod boot;
pub mod cluster;
#[cfg(feature = "contract")]
pub mod contract;
pub mod driver;
pub mod ignition;
