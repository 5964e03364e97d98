//! A write-ahead log for one consensus group: numbered entries, and a few slots (vote, committed, purged) that keep
//! only their newest value. Synchronous; it starts no thread and knows nothing of consensus.
//!
//! [`Wal::write`] puts many records into one frame, writes it once and syncs it once. A frame is the unit of
//! atomicity: it carries one checksum and a sequence number, and the next is only written when it is on disk. So on
//! opening, a frame that does not check is a torn tail if nothing valid follows, and is cut; if a valid frame does
//! follow, something that was safe got damaged, and the log refuses to open. After a failed write or sync the log
//! refuses everything: what reached the disk is unknown then, and a second sync could lie.
//!
//! Segments are preallocated with zeros, so that a sync writes data only. Each starts with the newest slots; old
//! segments go as a whole when their entries are purged. [`Disk`] is the files underneath: [`RealDisk`], or
//! [`sim::SimDisk`], which loses what was not synced, tears writes and fails on demand.

mod disk;
mod frame;
mod index;
mod open;
pub mod sim;
mod wal;

pub use disk::{Disk, DiskFile, RealDisk};
pub use frame::Record;
pub use index::Reader;
pub use wal::{Options, Slots, Wal};

/// Why the log could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error("could not {what} `{file}`")]
    Io {
        what: &'static str,
        file: String,
        #[source]
        source: std::io::Error,
    },
    /// Damage before data that is intact: not a torn write. Entries others rely on may be lost.
    #[error(
        "`{file}` is damaged at byte {offset}, with intact data after it; replace this member or restore the file"
    )]
    Corrupt { file: String, offset: u64 },
    /// The entry does not follow the last one.
    #[error("entry {got} does not follow entry {last}")]
    Gap { last: u64, got: u64 },
    /// An earlier write failed, so nothing is certain any more.
    #[error("an earlier write failed; the process must restart")]
    Poisoned,
    /// The entry was purged or never written.
    #[error("entry {0} is not in the log")]
    Missing(u64),
    #[error("`{0}` was written by a newer version")]
    Newer(String),
}
