//! How records are laid out: frames of records, each frame with a length, a checksum and its number.
//!
//! ```text
//! frame   length u32 | checksum u32 | number u64 | records, zero padded to 8 bytes
//! record  kind u8 | length u32 | payload            (an entry's payload starts with its index, u64)
//! ```
//! Little endian. The length counts the records without padding; the checksum covers number and records.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One thing to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The entry with this number; it must follow the last one.
    Entry(u64, Bytes),
    /// Entries after this number are void.
    TruncateAfter(u64),
    /// Entries up to this number are not needed; the next entry follows it.
    Purge(u64),
    /// A new value of a slot (0 to 7), replacing the old.
    Slot(u8, Bytes),
}

pub(crate) const HEAD: usize = 16;
/// A frame larger than this is damage.
const LARGEST: usize = 1 << 30;

/// Where an entry's payload lies, counted from the start of its frame.
pub(crate) struct Placed {
    pub(crate) index: u64,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// One frame, ready to be written, and where its entries lie in it.
pub(crate) fn encode(number: u64, records: &[Record]) -> (Bytes, Vec<Placed>) {
    let mut out = BytesMut::zeroed(HEAD);
    let mut placed = Vec::new();
    for record in records {
        match record {
            Record::Entry(index, payload) => {
                head(&mut out, 1, 8 + payload.len());
                out.put_u64_le(*index);
                placed.push(Placed { index: *index, offset: out.len(), length: payload.len() });
                out.put_slice(payload);
            }
            Record::TruncateAfter(index) => {
                head(&mut out, 2, 8);
                out.put_u64_le(*index);
            }
            Record::Purge(index) => {
                head(&mut out, 3, 8);
                out.put_u64_le(*index);
            }
            Record::Slot(slot, payload) => {
                head(&mut out, 8 + slot, payload.len());
                out.put_slice(payload);
            }
        }
    }
    let length = out.len() - HEAD;
    out[0..4].copy_from_slice(&(length as u32).to_le_bytes());
    out[8..16].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
    out.put_bytes(0, padding(length));
    (out.freeze(), placed)
}

fn head(out: &mut BytesMut, kind: u8, length: usize) {
    out.put_u8(kind);
    out.put_u32_le(length as u32);
}

fn padding(length: usize) -> usize {
    length.next_multiple_of(8) - length
}

/// A frame as found.
pub(crate) struct Frame {
    pub(crate) number: u64,
    pub(crate) records: Vec<(Record, usize)>,
    /// With head and padding.
    pub(crate) size: usize,
}

/// The frame that starts at `at`, if there is one and it is intact. Records come with the offset of their payload
/// from the start of the frame.
pub(crate) fn decode(data: &Bytes, at: usize) -> Option<Frame> {
    let head = data.get(at..at + HEAD)?;
    let length = u32::from_le_bytes(head[0..4].try_into().ok()?) as usize;
    let checksum = u32::from_le_bytes(head[4..8].try_into().ok()?);
    if length == 0 || length > LARGEST {
        return None;
    }
    let body = data.get(at + 8..(at + HEAD).checked_add(length)?)?;
    if crc32fast::hash(body) != checksum {
        return None;
    }
    let number = u64::from_le_bytes(head[8..16].try_into().ok()?);
    let records = records(&data.slice(at + HEAD..at + HEAD + length))?;
    Some(Frame { number, records, size: HEAD + length + padding(length) })
}

fn records(body: &Bytes) -> Option<Vec<(Record, usize)>> {
    let mut rest = body.clone();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let kind = rest.try_get_u8().ok()?;
        let length = rest.try_get_u32_le().ok()? as usize;
        if length > rest.len() {
            return None;
        }
        let mut payload = rest.split_to(length);
        let end = HEAD + body.len() - rest.len();
        let record = match kind {
            1 => Record::Entry(payload.try_get_u64_le().ok()?, payload.clone()),
            2 => Record::TruncateAfter(payload.try_get_u64_le().ok()?),
            3 => Record::Purge(payload.try_get_u64_le().ok()?),
            8..16 => Record::Slot(kind - 8, payload.clone()),
            _ => return None,
        };
        found.push((record, end - payload.len()));
    }
    Some(found)
}
