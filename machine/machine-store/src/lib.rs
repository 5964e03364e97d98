//! Where machines are kept: the layout of the store, its locks, its atomic writes, its images.
//!
//! ```text
//! certs/           ca.pem ca-key.pem cert.pem key.pem
//! machines/NAME/   config.json, keys, and whatever the driver keeps
//! images/ID/       manifest.json and the files it lists
//! cache/  locks/   what can be thrown away when nothing runs
//! failed/          serial logs of machines that never got ready
//! ```
//!
//! Nothing in a file of the store is an absolute path, so a store can be moved. Nothing here knows
//! what a driver keeps or what a certificate is.

mod error;
mod file;
mod image;
mod lock;
mod store;

pub use error::StoreError;
pub use file::{read, sync_files, sync_paths, write_atomic, write_unsynced};
pub use image::{Image, ImageError};
pub use lock::Lock;
pub use store::Store;
