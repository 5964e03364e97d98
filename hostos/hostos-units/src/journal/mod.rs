//! The journal: what units print, what the kernel says, what the supervisor does. Structured,
//! bounded, and readable up to the last whole record after a crash.
//!
//! Files `NNNNNNNNNNNNNNNN.journal` (16 hexadecimal digits, ascending) in one folder, one at least
//! for each boot. A file begins with [`MAGIC`] and the boot id (32 hexadecimal digits); records
//! follow, numbers little-endian:
//!
//! ```text
//! u32 length of the body   u32 CRC-32 of the body
//! body: u64 realtime µs, u64 monotonic µs, u8 priority, u8 transport, u32 pid,
//!       u16 length + unit, u16 length + identifier, u32 length + message (UTF-8)
//! ```
//!
//! A torn or broken record at the end of a file ends it; the writer cuts it off when it goes on in
//! that file. The oldest files go when all together are over the limit.

mod kernel;
mod reader;
mod record;
mod writer;

pub(crate) use kernel::{next_message as next_kernel_message, open as open_kernel_log};
pub(crate) use reader::{Filter, Reader, Stored};
pub(crate) use record::{Entry, Transport};
pub(crate) use writer::Writer;

/// First bytes of each file.
pub(crate) const MAGIC: &[u8; 8] = b"RMJRNL1\n";
/// Bytes before the first record.
pub(crate) const HEADER: usize = MAGIC.len() + 32;

#[cfg(test)]
mod tests;
