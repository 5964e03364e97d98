//! Images in and out of archives: load, save, import.

mod import;
mod load;
mod oci;
mod save;

pub use import::ImportOptions;
pub(crate) use oci::LAYER_GZIP;
pub use save::SaveItem;
