//! Which compression a stream has, told by its first bytes, and the stream without it.

use std::io::{self, BufRead, BufReader, Read};

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// Looks at the beginning of a stream.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::None,
        }
    }
}

const BUFFER: usize = 256 * 1024;

/// The stream again after a look at its first bytes.
pub(crate) type Peeked<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// Tells the compression of a stream, however small its first buffer is.
pub(crate) fn peek<R: BufRead>(mut inner: R) -> io::Result<(Compression, Peeked<R>)> {
    let mut start = Vec::new();
    inner.by_ref().take(6).read_to_end(&mut start)?;
    Ok((Compression::of(&start), io::Cursor::new(start).chain(inner)))
}

/// The uncompressed stream, whatever the compression was.
pub fn decompress<'a, R: BufRead + Send + 'a>(
    inner: R,
) -> io::Result<(Compression, Box<dyn BufRead + Send + 'a>)> {
    let (compression, inner) = peek(inner)?;
    let reader: Box<dyn BufRead + Send + 'a> = match compression {
        Compression::None => Box::new(inner),
        Compression::Gzip => {
            Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(inner)))
        }
        Compression::Zstd => Box::new(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(inner)?)),
        Compression::Bzip2 => Box::new(BufReader::with_capacity(BUFFER, bzip2_rs::DecoderReader::new(inner))),
        Compression::Xz => Box::new(BufReader::with_capacity(BUFFER, unxz(inner)?)),
    };
    Ok((compression, reader))
}

/// The pure decoder pushes; its output goes through an unnamed file, so that memory stays bounded.
fn unxz<R: BufRead>(mut inner: R) -> io::Result<impl Read> {
    let mut file = tempfile::tempfile()?;
    let mut writer = io::BufWriter::with_capacity(BUFFER, &mut file);
    lzma_rs::xz_decompress(&mut inner, &mut writer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("xz: {error:?}")))?;
    io::Write::flush(&mut writer)?;
    drop(writer);
    io::Seek::rewind(&mut file)?;
    Ok(file)
}
