//! A state on the wire: pieces of pairs, each small enough to hold, to be checksummed by the carrier.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::View;

/// About how much one piece holds.
const PIECE_BYTES: usize = 256 << 10;

/// The state in pieces.
///
/// # Errors
/// When the storage fails.
pub fn pieces(view: &View) -> io::Result<impl Iterator<Item = io::Result<Bytes>> + '_> {
    let mut pairs = view.pairs()?;
    Ok(std::iter::from_fn(move || {
        let mut piece = BytesMut::new();
        while piece.len() < PIECE_BYTES {
            match pairs.next() {
                None => break,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok((key, value))) => {
                    piece.put_u32_le(key.len() as u32);
                    piece.put_u32_le(value.len() as u32);
                    piece.put_slice(&key);
                    piece.put_slice(&value);
                }
            }
        }
        (!piece.is_empty()).then(|| Ok(piece.freeze()))
    }))
}

/// The pairs of a piece.
///
/// # Errors
/// When it is cut short.
pub fn pairs(mut piece: Bytes) -> io::Result<Vec<(Bytes, Bytes)>> {
    let mut pairs = Vec::new();
    while piece.has_remaining() {
        let cut_short = |_| io::Error::from(io::ErrorKind::UnexpectedEof);
        let key = piece.try_get_u32_le().map_err(cut_short)? as usize;
        let value = piece.try_get_u32_le().map_err(cut_short)? as usize;
        if key.checked_add(value).is_none_or(|both| both > piece.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (key, value) = (piece.split_to(key), piece.split_to(value));
        pairs.push((key, value));
    }
    Ok(pairs)
}
