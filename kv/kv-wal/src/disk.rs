//! The files under the log, as few operations as it needs. No caching, no retries.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory of files.
pub trait Disk: Send + Sync + 'static {
    /// The names of the files there.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file, making it if `create`. Its name is safe only after [`Disk::sync`].
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations and removals safe.
    ///
    /// # Errors
    /// When they may not be.
    fn sync(&self) -> io::Result<()>;
}

/// One file.
pub trait DiskFile: Send + Sync {
    /// # Errors
    /// When the file cannot be asked.
    fn len(&self) -> io::Result<u64>;
    /// Fills the buffer from there.
    ///
    /// # Errors
    /// When there is not that much, or reading fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of it there.
    ///
    /// # Errors
    /// When writing fails; some may have been written.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file this long, with zeros where nothing was written, and room reserved.
    ///
    /// # Errors
    /// When there is no room.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Cuts the file.
    ///
    /// # Errors
    /// When it cannot be cut.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes what was written safe.
    ///
    /// # Errors
    /// When it may not be. It must not be tried again.
    fn sync(&self) -> io::Result<()>;
    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// When the file cannot be asked.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A directory of the file system.
pub struct RealDisk(PathBuf);

impl RealDisk {
    /// Makes the directory when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self(dir.to_owned()))
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let names =
            std::fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.0.join(name);
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    #[allow(unsafe_code, reason = "std has no fallocate")]
    fn allocate(&self, length: u64) -> io::Result<()> {
        let length = libc::off_t::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the descriptor is open for as long as `self` lives, and no memory is passed.
        match unsafe { libc::posix_fallocate(self.as_raw_fd(), 0, length) } {
            0 => Ok(()),
            libc::EOPNOTSUPP | libc::EINVAL => self.set_len(length as u64),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
