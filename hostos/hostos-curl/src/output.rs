//! Where what is received goes: the standard output or a file, made when the first byte comes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use url::Url;

use crate::error::CurlError;
use crate::options::OutputOptions;

/// Where the body of one URL goes.
pub(crate) struct Output {
    path: Option<PathBuf>,
    create_dirs: bool,
    open: Option<Box<dyn Write>>,
}

impl Output {
    /// For the URL that comes at `index` on the command line.
    pub(crate) fn new(options: &OutputOptions, index: usize, url: &Url) -> Result<Self, CurlError> {
        let path = match options.files.get(index) {
            Some(path) if path == Path::new("-") => None,
            Some(path) => Some(path.clone()),
            None if options.remote_name => Some(remote_name(url)?),
            None => None,
        };
        let path = path.map(|path| match &options.output_dir {
            Some(dir) => dir.join(path),
            None => path,
        });
        Ok(Self { path, create_dirs: options.create_dirs, open: None })
    }

    /// Such as `%{filename_effective}` shows.
    pub(crate) fn name(&self) -> String {
        self.path.as_deref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    /// Writes a piece.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CurlError> {
        if self.open.is_none() {
            self.open = Some(self.open().map_err(CurlError::Write)?);
        }
        let Some(out) = &mut self.open else { return Ok(()) };
        out.write_all(bytes).map_err(CurlError::Write)?;
        // Whoever reads a stream of events wants each when it comes.
        if self.path.is_none() { self.flush() } else { Ok(()) }
    }

    /// What is written so far is seen by others.
    pub(crate) fn flush(&mut self) -> Result<(), CurlError> {
        self.open.as_mut().map_or(Ok(()), |out| out.flush().map_err(CurlError::Write))
    }

    /// All is written. A file that nothing came for is empty, but it is there.
    pub(crate) fn finish(&mut self) -> Result<(), CurlError> {
        if self.open.is_none() && self.path.is_some() {
            self.open = Some(self.open().map_err(CurlError::Write)?);
        }
        match &mut self.open {
            Some(out) => out.flush().map_err(CurlError::Write),
            None => Ok(()),
        }
    }

    /// Another try starts: what the last one wrote to a file is not kept.
    pub(crate) fn restart(&mut self) {
        if self.path.is_some() {
            self.open = None;
        }
    }

    fn open(&self) -> io::Result<Box<dyn Write>> {
        let Some(path) = &self.path else { return Ok(Box::new(io::stdout())) };
        if self.create_dirs
            && let Some(parent) = path.parent()
        {
            fs::create_dir_all(parent)?;
        }
        Ok(Box::new(File::create(path)?))
    }
}

/// The last part of the URL's path.
fn remote_name(url: &Url) -> Result<PathBuf, CurlError> {
    let name = url.path().rsplit('/').next().unwrap_or_default();
    if name.is_empty() {
        let message = "Remote file name has no length";
        return Err(CurlError::Write(io::Error::new(io::ErrorKind::InvalidInput, message)));
    }
    Ok(PathBuf::from(name))
}
