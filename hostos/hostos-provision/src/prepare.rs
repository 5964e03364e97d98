//! Everything that can fail before the first write: content is fetched, unpacked and verified here.

use std::io;

use hostos_config::{Config, File, Resource};

use crate::fetch::{Content, FetchError, Fetcher};

/// What a file is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileContents {
    /// The whole content, before anything is appended; nothing keeps what is there.
    pub(crate) base: Option<Content>,
    pub(crate) append: Vec<Content>,
}

impl FileContents {
    /// Whether all of it in one piece would be those bytes.
    pub(crate) fn is(&self, bytes: &[u8]) -> io::Result<bool> {
        let mut rest = bytes;
        for part in self.base.iter().chain(&self.append) {
            let part = part.bytes()?;
            match rest.strip_prefix(part.as_slice()) {
                Some(behind) => rest = behind,
                None => return Ok(false),
            }
        }
        Ok(rest.is_empty())
    }
}

/// Why content is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot get the content of {path}")]
pub struct PrepareError {
    /// Of which file.
    pub path: String,
    /// Why.
    #[source]
    pub source: FetchError,
}

/// Gets the contents of all files, in the order of the config.
pub(crate) fn contents(config: &Config, fetcher: &Fetcher) -> Result<Vec<FileContents>, PrepareError> {
    config.storage.files.iter().map(|file| of_file(file, fetcher)).collect()
}

fn of_file(file: &File, fetcher: &Fetcher) -> Result<FileContents, PrepareError> {
    let get = |resource: &Resource| {
        fetcher.fetch(resource).map_err(|source| PrepareError { path: file.path.clone(), source })
    };
    let base = match file.contents.source {
        Some(_) => Some(get(&file.contents)?),
        None => None,
    };
    Ok(FileContents { base, append: file.append.iter().map(get).collect::<Result<_, _>>()? })
}
