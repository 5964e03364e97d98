//! `ADD URL`: what is fetched lies in a folder of its own until the build step has copied it.

use std::fs::{File, FileTimes, OpenOptions, create_dir};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use engine_image::overlay;

use crate::builder::Builder;
use crate::copy::{self, Source};
use crate::error::BuildError;

/// What the host tells of a file it has fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// From the URL or the server; may be empty.
    pub name: String,
    /// Seconds since 1970.
    pub modified: Option<i64>,
}

/// One fetched file; the folder goes with it.
pub(crate) struct Downloaded {
    folder: PathBuf,
    root: OwnedFd,
    pub source: Source,
}

impl Downloaded {
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }
}

impl Drop for Downloaded {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::debug!(folder = %self.folder.display(), %error, "could not remove a download");
        }
    }
}

/// Goes when fetching fails halfway.
struct Folder(Option<PathBuf>);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // It may never have been made.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

const PARTIAL: &str = "partial";
/// What a file without a name of its own is called; it only goes to a destination that names it.
const UNNAMED: &str = "file";

impl Builder {
    /// Fetches `url`. A file without a name needs a destination that is no folder.
    pub(crate) fn download(&mut self, url: &str, destination: &str) -> Result<Downloaded, BuildError> {
        let failed = |error: std::io::Error| BuildError::failed(format!("ADD failed: {url}: {error}"));
        let path = self.store.scratch();
        let mut folder = Folder(Some(path.clone()));
        create_dir(&path).map_err(failed)?;
        let partial = path.join(PARTIAL);
        let file = new_file(&partial).map_err(failed)?;
        let (host, sink) = (self.host.clone(), self.quiet_sink());
        let into = file.try_clone().map_err(failed)?;
        let fetched = self.wait({
            let url = url.to_owned();
            async move { host.download(&url, into, sink).await }
        })?;
        let fetched = fetched.map_err(|reason| BuildError::failed(format!("ADD failed: {reason}")))?;
        if fetched.name.is_empty() && destination.ends_with('/') {
            return Err(BuildError::failed(format!(
                "ADD failed: cannot determine filename for source {url}"
            )));
        }
        set_time(&file, fetched.modified).map_err(failed)?;
        let name = if fetched.name.is_empty() { UNNAMED } else { fetched.name.as_str() };
        std::fs::rename(&partial, path.join(name)).map_err(failed)?;
        let root = overlay::open_folder(&path).map_err(failed)?;
        let source = copy::downloaded(root.as_fd(), name)?;
        folder.0 = None;
        Ok(Downloaded { folder: path, root, source })
    }
}

/// For root alone, as Docker keeps downloads in the image.
fn new_file(path: &std::path::Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A server that gives no date gets 1970, so that the layer does not change with the day.
fn set_time(file: &File, modified: Option<i64>) -> std::io::Result<()> {
    let seconds = modified.and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
}
