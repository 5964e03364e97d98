//! Tar archives of file trees, in and out, over directory descriptors.

mod compression;
mod extract;
mod header;
mod pack;
mod reader;
mod size;
mod split;
mod writer;

pub(crate) use compression::peek;
pub use compression::{Compression, decompress};
pub use extract::{ExtractOptions, Extracted, extract};
pub use header::{Entry, Kind};
pub(crate) use pack::pack_announcing;
pub use pack::{PackMode, pack, pack_entry};
pub use reader::{Content, NoWatch, Reader, Watch};
pub use size::tree_size;
pub use split::{Recorder, assemble};
pub use writer::Writer;
