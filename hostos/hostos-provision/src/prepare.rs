//! Everything that can fail before the first write: content is fetched, unpacked and verified here.

use std::fs::File as OpenFile;
use std::io::{self, Write as _};
use std::sync::Arc;

use hostos_config::{Config, File, Resource};

use crate::fetch::{FetchError, Fetcher};

/// Verified bytes, ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Content(Arc<Vec<u8>>);

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl Content {
    pub(crate) fn write_to(&self, file: &mut OpenFile) -> io::Result<()> {
        file.write_all(&self.0)
    }
}

/// What a file is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileContents {
    /// The whole content, before anything is appended; nothing keeps what is there.
    pub(crate) base: Option<Content>,
    pub(crate) append: Vec<Content>,
}

impl FileContents {
    /// All of it in one piece.
    pub(crate) fn whole(&self) -> io::Result<Vec<u8>> {
        Ok(self.base.iter().chain(&self.append).flat_map(|content| content.0.iter().copied()).collect())
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
        let got = fetcher.fetch(resource).map(Content::from);
        got.map_err(|source| PrepareError { path: file.path.clone(), source })
    };
    let base = match file.contents.source {
        Some(_) => Some(get(&file.contents)?),
        None => None,
    };
    Ok(FileContents { base, append: file.append.iter().map(get).collect::<Result<_, _>>()? })
}
