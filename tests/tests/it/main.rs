//! All system tests in one binary: each file a chapter.

mod bad_config;
mod bad_input;
mod cluster;
mod declared;
mod discovery;
mod fleet_units;
mod full_disk;
mod generic;
mod kernel_arguments;
mod life;
mod network_boot;
mod power_cut;
mod pxe;
mod resume;
mod sources;
mod store;
mod wishes;
mod wrong_clock;
