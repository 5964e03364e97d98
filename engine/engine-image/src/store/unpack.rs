//! From tar streams to layers, and back to the very same tars.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{BlobWriter, Layer, LayerFacts, LayerHold, LayerWriter, Store, Writable};
use crate::archive::{
    self, Compression, Entry, ExtractOptions, NoWatch, PackMode, Reader, Recorder, Watch, Writer,
    pack_announcing,
};
use crate::digest::{DiffId, Digest, Hasher, Hashing};
use crate::error::{ImageError, Result};
use crate::overlay::{self, Upper};

const BUFFER: usize = 256 * 1024;
/// What an unpacked archive must leave free on the disk.
const RESERVE: u64 = 64 << 20;

impl Store {
    /// Unpacks a layer tar, compressed or not; compressed bytes are not kept.
    pub fn import_layer(&self, tar: impl BufRead + Send) -> Result<LayerHold> {
        let (_, tar) = archive::decompress(tar).map_err(ImageError::stream("could not read the archive"))?;
        self.unpack_recording(tar)
    }

    /// Unpacks an uncompressed tar, recording how to make it again.
    pub(crate) fn unpack_recording(&self, tar: impl BufRead) -> Result<LayerHold> {
        let writer = self.new_layer()?;
        let (recorder, facts) = self.unpack(&writer, tar, Recorder::default())?;
        let split = recorder.encode().map_err(ImageError::stream("could not record a layer"))?;
        writer.finish(LayerFacts { split: Some(split), ..facts })
    }

    fn unpack<W: Watch>(&self, writer: &LayerWriter, tar: impl BufRead, watch: W) -> Result<(W, LayerFacts)> {
        let folder = writer.path();
        let root = overlay::open_folder(folder).map_err(ImageError::file("open", folder))?;
        let mut reader = Reader::new(HashedBuf::new(tar), watch);
        let options = ExtractOptions { layer: true, most_bytes: self.room(), ..ExtractOptions::default() };
        let failed = ImageError::stream("could not unpack the layer");
        let unpacked = archive::extract(root.as_fd(), &mut reader, &options)
            .and_then(|done| Ok((done, reader.finish()?)));
        let (extracted, (hashed, watch)) = unpacked.map_err(failed)?;
        let (diff_id, tar_size) = hashed.finish();
        Ok((watch, LayerFacts { diff_id, size: extracted.bytes, tar_size, blob: None, split: None }))
    }

    /// Bytes that may still be unpacked here.
    pub fn room(&self) -> u64 {
        match rustix::fs::statvfs(self.root()) {
            Ok(stat) => (stat.f_bavail * stat.f_frsize).saturating_sub(RESERVE),
            Err(_) => u64::MAX,
        }
    }

    /// Makes a layer of a container's changes; the container keeps them (`docker commit`).
    pub fn commit_writable(&self, writable: &Writable) -> Result<LayerHold> {
        let upper =
            overlay::open_folder(&writable.upper).map_err(ImageError::file("open", &writable.upper))?;
        std::thread::scope(|scope| {
            let (reader, sink) = io::pipe().map_err(ImageError::stream("could not make a pipe"))?;
            let packer = scope.spawn(move || {
                let mut out = Writer::new(io::BufWriter::with_capacity(BUFFER, sink));
                archive::pack(upper.as_fd(), PackMode::Layer, &mut out)?;
                out.finish()?.flush()
            });
            let layer = self.unpack_recording(BufReader::with_capacity(BUFFER, reader));
            let packed = packer.join().unwrap_or_else(|_| Err(io::Error::other("packing panicked")));
            let layer = layer?;
            packed.map_err(ImageError::stream("could not pack the container's changes"))?;
            Ok(layer)
        })
    }

    /// Makes the upper folder itself a layer, without copying: a build step. The writable layer is gone then.
    pub fn turn_into_layer(&self, writable: &Arc<Writable>) -> Result<LayerHold> {
        let hold = self.adopt_folder(&writable.upper)?;
        self.remove_writable(&writable.id);
        Ok(hold)
    }

    /// Makes a folder (an overlay upper folder below the store's root) a layer. The folder is gone then.
    pub fn adopt_folder(&self, folder: &Path) -> Result<LayerHold> {
        let writer = self.adopt_layer(folder.to_owned());
        let upper = overlay::open_folder(folder).map_err(ImageError::file("open", folder))?;
        let recorder = RefCell::new(Recorder::default());
        let sink = RecordingSink { recorder: &recorder, content: Cell::new(0), state: RefCell::default() };
        let mut out = Writer::new(&sink);
        let failed = || ImageError::stream("could not record the step's changes");
        pack_announcing(upper.as_fd(), PackMode::Layer, &mut out, &mut |entry| sink.announce(entry))
            .map_err(failed())?;
        out.finish().map_err(failed())?;
        let size = archive::tree_size(upper.as_fd()).map_err(failed())?;
        let (hasher, tar_size) = sink.state.into_inner();
        let split = recorder.into_inner().encode().map_err(failed())?;
        let facts = LayerFacts { diff_id: hasher.finish(), size, tar_size, blob: None, split: Some(split) };
        writer.finish(facts)
    }

    /// Lets `fill` change the files of a stack (topmost first) and makes a layer of the changes.
    /// The inner result is `fill`'s failure; nothing is left of it then.
    pub fn layer_from<E>(
        &self,
        lowers: &[PathBuf],
        fill: impl FnOnce(BorrowedFd<'_>) -> Result<(), E>,
    ) -> Result<Result<LayerHold, E>> {
        let upper = self.new_layer()?;
        let work = self.new_layer()?;
        let over = Upper { upper: upper.path(), work: work.path() };
        let root = overlay::mount_detached(lowers, Some(over), &self.temporary())
            .map_err(ImageError::file("mount", upper.path()))?;
        if let Err(error) = fill(root.as_fd()) {
            return Ok(Err(error));
        }
        drop(root);
        let path = upper.into_path();
        self.adopt_folder(&path).map(Ok)
    }

    /// Writes the layer's uncompressed tar, byte for byte as it was; fails if that cannot be.
    pub fn write_layer_tar(&self, layer: &Layer, out: &mut impl Write) -> Result<()> {
        let failed = || ImageError::stream(format!("could not read layer {}", layer.diff_id));
        let mut out = Hashing::new(out);
        if let Some(blob) = &layer.blob {
            let file = BufReader::with_capacity(BUFFER, self.open_blob(&blob.digest)?);
            let (_, mut tar) = archive::decompress(file).map_err(failed())?;
            io::copy(&mut tar, &mut out).map_err(failed())?;
        } else {
            let path = self.layer_file(&layer.diff_id, "split");
            let split = File::open(&path).map_err(ImageError::file("open", path))?;
            let root = self.layer_dir(layer);
            let root = overlay::open_folder(&root).map_err(ImageError::file("open", root))?;
            archive::assemble(split, root.as_fd(), &mut out).map_err(failed())?;
        }
        let (_, found, _) = out.finish();
        if found == layer.diff_id {
            return Ok(());
        }
        Err(ImageError::Mismatch { what: "the layer's unpacked copy".into(), expected: layer.diff_id, found })
    }

    /// Reads a compressed or plain layer, keeping compressed bytes as a blob with this media type.
    pub(crate) fn take_layer(
        &self,
        raw: impl BufRead + Send,
        media_type: &str,
        expected_blob: Option<&Digest>,
        expected_diff: Option<&DiffId>,
    ) -> Result<LayerHold> {
        let failed = || ImageError::stream("could not read the layer");
        let (compression, raw) = archive::peek(raw).map_err(failed())?;
        let hold = if compression == Compression::None {
            let hold = self.unpack_recording(raw)?;
            if let Some(expected) = expected_blob {
                expect("the layer", expected, hold.diff_id())?;
            }
            hold
        } else {
            self.take_compressed(raw, media_type, expected_blob)?
        };
        if let Some(expected) = expected_diff {
            expect("the unpacked layer", expected, hold.diff_id())?;
        }
        Ok(hold)
    }

    fn take_compressed(
        &self,
        raw: impl BufRead + Send,
        media_type: &str,
        expected: Option<&Digest>,
    ) -> Result<LayerHold> {
        let writer = self.new_layer()?;
        let tee = Mutex::new(Tee { inner: raw, blob: self.new_blob()? });
        let (_, facts) = {
            let shared = BufReader::with_capacity(BUFFER, SharedTee(&tee));
            let (_, mut tar) =
                archive::decompress(shared).map_err(ImageError::stream("could not read the layer"))?;
            self.unpack(&writer, &mut tar, NoWatch)?
        };
        let mut tee = tee.into_inner().unwrap_or_else(PoisonError::into_inner);
        // What follows the compressed stream belongs to the blob.
        io::copy(&mut tee, &mut io::sink()).map_err(ImageError::stream("could not read the layer"))?;
        if let Some(expected) = expected {
            tee.blob.verify("the downloaded layer", expected)?;
        }
        writer.finish(LayerFacts { blob: Some((tee.blob, media_type.to_owned())), ..facts })
    }

    /// A fresh path below `tmp/`, for detached mounts by other crates of the engine.
    pub fn scratch(&self) -> PathBuf {
        self.temporary()
    }
}

fn expect(what: &str, expected: &Digest, found: &Digest) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(ImageError::Mismatch { what: what.to_owned(), expected: *expected, found: *found })
}

/// Reads, and writes what it reads to a blob.
struct Tee<R> {
    inner: R,
    blob: BlobWriter,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.blob.write_all(&buffer[..read])?;
        Ok(read)
    }
}

struct SharedTee<'a, R>(&'a Mutex<Tee<R>>);

impl<R: Read> Read for SharedTee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }
}

/// Hashes what is consumed of a buffered stream, without copying it.
struct HashedBuf<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R> HashedBuf<R> {
    fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::new(), count: 0 }
    }

    fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.count)
    }
}

impl<R: BufRead> BufRead for HashedBuf<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        // The buffer is not empty, so this reads nothing new.
        if let Ok(buffer) = self.inner.fill_buf() {
            self.hasher.update(&buffer[..length]);
        }
        self.count += length as u64;
        self.inner.consume(length);
    }
}

impl<R: BufRead> Read for HashedBuf<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// Hashes a tar while it is packed and records its framing; keeps none of it.
struct RecordingSink<'a> {
    recorder: &'a RefCell<Recorder>,
    /// Bytes of file content still to pass.
    content: Cell<u64>,
    state: RefCell<(Hasher, u64)>,
}

impl RecordingSink<'_> {
    fn announce(&self, entry: &Entry) -> io::Result<()> {
        self.content.set(entry.size);
        self.recorder.borrow_mut().content(entry, entry.size)
    }
}

impl Write for &RecordingSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.borrow_mut();
        state.0.update(bytes);
        state.1 += bytes.len() as u64;
        let content = bytes.len().min(usize::try_from(self.content.get()).unwrap_or(usize::MAX));
        self.content.set(self.content.get() - content as u64);
        if content < bytes.len() {
            self.recorder.borrow_mut().framing(&bytes[content..])?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
