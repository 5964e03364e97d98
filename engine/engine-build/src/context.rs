//! The build context: an archive from the client, unpacked into a folder that goes when the build ends.

use std::io::{BufRead, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use engine_image::archive::{self, ExtractOptions, NoWatch, Reader};
use engine_image::{Store, dirfd, overlay};

use crate::error::BuildError;
use crate::ignore::Ignore;

const LARGEST_DOCKERFILE: u64 = 8 << 20;

/// An unpacked context.
pub(crate) struct Context {
    folder: PathBuf,
    root: OwnedFd,
    /// A Dockerfile and nothing else, whatever name the client has for it.
    lone: bool,
}

impl Context {
    /// Unpacks a tar (compressed or not), or takes a lone Dockerfile.
    pub(crate) fn receive(store: &Store, stream: impl BufRead + Send) -> Result<Self, BuildError> {
        let folder = store.scratch();
        let failed =
            |error: std::io::Error| BuildError::failed(format!("Error processing tar file({error})"));
        std::fs::create_dir(&folder).map_err(failed)?;
        let root = overlay::open_folder(&folder).map_err(failed)?;
        let mut context = Self { folder, root, lone: false };
        let (_, mut tar) = archive::decompress(stream).map_err(failed)?;
        let mut start = Vec::new();
        tar.by_ref().take(512).read_to_end(&mut start).map_err(failed)?;
        let is_tar = start.is_empty() || looks_like_tar(&start);
        let tar = std::io::Cursor::new(start).chain(tar);
        if !is_tar {
            let mut text = Vec::new();
            tar.take(LARGEST_DOCKERFILE).read_to_end(&mut text).map_err(failed)?;
            std::fs::write(context.folder.join("Dockerfile"), text).map_err(failed)?;
            context.lone = true;
            return Ok(context);
        }
        let mut reader = Reader::new(tar, NoWatch);
        let options = ExtractOptions { most_bytes: store.room(), ..ExtractOptions::default() };
        archive::extract(context.root.as_fd(), &mut reader, &options).map_err(failed)?;
        reader.finish().map_err(failed)?;
        Ok(context)
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The Dockerfile's text; it and `.dockerignore` leave the context if that says so.
    pub(crate) fn dockerfile(&self, name: &str) -> Result<String, BuildError> {
        let name = if self.lone { "Dockerfile" } else { name };
        let text = self.read_dockerfile(name)?;
        let ignored = match dirfd::open_file_in(self.root.as_fd(), Path::new(".dockerignore")) {
            Ok(file) => {
                let mut text = String::new();
                file.take(LARGEST_DOCKERFILE)
                    .read_to_string(&mut text)
                    .map_err(|e| BuildError::failed(e.to_string()))?;
                Ignore::parse(&text).map_err(BuildError::bad_request)?
            }
            Err(_) => Ignore::default(),
        };
        for file in [".dockerignore", name] {
            let path = dirfd::clean(Path::new(file));
            if ignored.excludes(&path.to_string_lossy()) {
                self.remove(&path);
            }
        }
        Ok(text)
    }

    fn read_dockerfile(&self, name: &str) -> Result<String, BuildError> {
        let mut depth = 0;
        for component in Path::new(name).components() {
            depth += if component == std::path::Component::ParentDir { -1 } else { 1 };
            if depth < 0 {
                return Err(BuildError::bad_request(format!(
                    "forbidden path outside the build context: {name} ()"
                )));
            }
        }
        let open = |name: &str| dirfd::open_file_in(self.root.as_fd(), &dirfd::clean(Path::new(name)));
        let file =
            open(name).or_else(|error| if name == "Dockerfile" { open("dockerfile") } else { Err(error) });
        let file =
            file.map_err(|_| BuildError::failed(format!("Cannot locate specified Dockerfile: {name}")))?;
        let mut text = Vec::new();
        file.take(LARGEST_DOCKERFILE)
            .read_to_end(&mut text)
            .map_err(|error| BuildError::failed(error.to_string()))?;
        if text.is_empty() {
            return Err(BuildError::bad_request(format!("the Dockerfile ({name}) cannot be empty")));
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn remove(&self, path: &Path) {
        let parent = path.parent().unwrap_or(Path::new(""));
        if let (Ok(folder), Some(name)) = (dirfd::open_folder_in(self.root.as_fd(), parent), path.file_name())
        {
            let _ = dirfd::remove_all(folder.as_fd(), name);
        }
    }
}

/// A tar's first block has NUL bytes, a Dockerfile has none.
fn looks_like_tar(start: &[u8]) -> bool {
    start.contains(&0)
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::debug!(folder = %self.folder.display(), %error, "could not remove a build context");
        }
    }
}
