//! Verified bytes that wait to be written: small ones in memory, large ones in an unnamed file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// What stays in memory.
const IN_MEMORY: usize = 256 * 1024;

/// Verified bytes.
#[derive(Clone, Debug)]
pub(crate) struct Content(Kept);

#[derive(Clone, Debug)]
enum Kept {
    Memory(Arc<Vec<u8>>),
    File(Arc<File>, u64),
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kept::Memory(Arc::new(bytes)))
    }
}

impl Content {
    /// Reads it from its begin.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { content: &self.0, at: 0 }
    }

    /// All of it in memory.
    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads content from its begin.
pub(crate) struct Reader<'c> {
    content: &'c Kept,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.content {
            Kept::Memory(bytes) => {
                let rest = bytes.get(usize::try_from(self.at).unwrap_or(usize::MAX)..).unwrap_or_default();
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                length
            }
            Kept::File(file, length) => {
                let room = buffer.len().min(usize::try_from(length - self.at).unwrap_or(usize::MAX));
                file.read_at(&mut buffer[..room], self.at)?
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

/// Takes bytes, and moves them to a file when they grow large.
pub(super) struct Spool {
    directory: PathBuf,
    memory: Vec<u8>,
    file: Option<(File, u64)>,
}

impl Spool {
    /// Files go to that directory, without a name.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, memory: Vec::new(), file: None }
    }

    pub(super) fn finish(self) -> Content {
        match self.file {
            Some((file, length)) => Content(Kept::File(Arc::new(file), length)),
            None => Content::from(self.memory),
        }
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() && self.memory.len() + bytes.len() > IN_MEMORY {
            let mut file = tempfile::tempfile_in(&self.directory)?;
            file.write_all(&self.memory)?;
            self.file = Some((file, self.memory.len() as u64));
            self.memory = Vec::new();
        }
        match &mut self.file {
            Some((file, length)) => {
                file.write_all(bytes)?;
                *length += bytes.len() as u64;
            }
            None => self.memory.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_content_comes_back_whole_from_its_file() {
        let mut spool = Spool::new(std::env::temp_dir());
        let bytes: Vec<u8> = (0..IN_MEMORY * 2).map(|index| (index % 251) as u8).collect();
        for part in bytes.chunks(10_000) {
            spool.write_all(part).expect("it takes it");
        }
        let content = spool.finish();
        assert!(matches!(content.0, Kept::File(..)));
        assert_eq!(content.bytes().expect("it reads"), bytes);
        assert_eq!(content.bytes().expect("it reads again"), bytes);
    }
}
