//! Images in and out of archives: load, save, import.

mod import;
mod load;
mod oci;
mod save;

pub use import::ImportOptions;
