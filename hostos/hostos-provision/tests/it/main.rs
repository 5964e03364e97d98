//! The public behaviour of this crate, against real servers, disks and trees.

mod devices;
mod disks;
mod fetching;
mod server;
mod trees;
