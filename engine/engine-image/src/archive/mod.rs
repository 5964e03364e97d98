//! Tar archives of file trees, in and out, over directory descriptors.

mod size;

pub use size::tree_size;
