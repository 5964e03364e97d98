//! The context of a build as a tar: a folder without what its `.dockerignore` names.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use engine_build::Ignore;
use engine_image::archive::{Entry, Kind, Writer};

use crate::http::Failure;

/// A folder to send.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    ignore: Ignore,
    /// In the context, though it may be ignored: the engine needs it.
    dockerfile: String,
}

impl Folder {
    /// `dockerfile` is relative to the folder.
    pub(crate) fn open(root: &Path, dockerfile: &str) -> Result<Folder, Failure> {
        let shown = root.display();
        match fs::metadata(root) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(Failure::Usage(format!("context must be a directory: {shown}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::Usage(format!("unable to prepare context: path \"{shown}\" not found")));
            }
            Err(error) => return Err(Failure::Usage(format!("unable to prepare context: {shown}: {error}"))),
        }
        if !root.join(dockerfile).is_file() {
            let wanted = root.join(dockerfile);
            return Err(Failure::Usage(format!(
                "unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {}: no such file or directory",
                wanted.display()
            )));
        }
        let text = match fs::read_to_string(root.join(".dockerignore")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::Usage(format!("could not read .dockerignore: {error}"))),
        };
        let ignore = Ignore::parse(&text)
            .map_err(|problem| Failure::Usage(format!("error checking context: {problem}")))?;
        Ok(Folder { root: root.to_owned(), ignore, dockerfile: dockerfile.to_owned() })
    }

    /// Writes the tar.
    pub(crate) fn pack(&self, out: impl Write) -> io::Result<()> {
        let mut tar = Writer::new(out);
        self.folder(Path::new(""), &mut tar)?;
        tar.finish()?.flush()
    }

    fn folder<W: Write>(&self, below: &Path, tar: &mut Writer<W>) -> io::Result<()> {
        let mut names: Vec<_> = fs::read_dir(self.root.join(below))?
            .map(|e| e.map(|e| e.file_name()))
            .collect::<Result<_, _>>()?;
        names.sort();
        for name in names {
            let path = below.join(name);
            let meta = fs::symlink_metadata(self.root.join(&path))?;
            let sent = self.is_sent(&path);
            if sent {
                self.entry(&path, &meta, tar)?;
            }
            // Below an ignored folder there may be exceptions.
            if meta.is_dir() {
                self.folder(&path, tar)?;
            }
        }
        Ok(())
    }

    fn is_sent(&self, path: &Path) -> bool {
        let text = path.to_string_lossy();
        text == ".dockerignore" || text == self.dockerfile.as_str() || !self.ignore.excludes(&text)
    }

    /// Owners stay behind: in the context everything is root's.
    fn entry<W: Write>(&self, path: &Path, meta: &fs::Metadata, tar: &mut Writer<W>) -> io::Result<()> {
        let kind = match meta.file_type() {
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_symlink() => Kind::Symlink,
            kind if kind.is_file() => Kind::File,
            // Devices and sockets mean nothing to a build.
            _ => return Ok(()),
        };
        let mut name = path.as_os_str().as_bytes().to_vec();
        if kind == Kind::Folder {
            name.push(b'/');
        }
        let mut entry = Entry::new(name, kind, meta.mode() & 0o7777);
        entry.mtime = meta.mtime();
        match kind {
            Kind::Symlink => {
                entry.link = fs::read_link(self.root.join(path))?.into_os_string().as_bytes().to_vec();
                tar.entry(&entry)
            }
            Kind::File => {
                let mut file = File::open(self.root.join(path))?;
                entry.size = file.metadata()?.len();
                tar.entry(&entry)?;
                tar.content(&mut file)
            }
            _ => tar.entry(&entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_image::archive::{NoWatch, Reader};

    #[test]
    fn what_is_ignored_stays_behind() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("skip/deep")).unwrap();
        for name in ["Dockerfile", "a", "skip/b", "skip/deep/keep", "x.log"] {
            fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        fs::write(at(".dockerignore"), "skip\n!skip/deep/keep\n*.log\nDockerfile\n").unwrap();
        let mut bytes = Vec::new();
        Folder::open(dir.path(), "Dockerfile").unwrap().pack(&mut bytes).unwrap();
        let mut reader = Reader::new(bytes.as_slice(), NoWatch);
        let mut seen = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            seen.push(String::from_utf8(entry.path).unwrap());
            reader.content(|_| Ok(())).unwrap();
        }
        assert_eq!(seen, [".dockerignore", "Dockerfile", "a", "link", "skip/deep/keep"]);
    }

    #[test]
    fn bad_folders_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let e = Folder::open(&dir.path().join("nope"), "Dockerfile").unwrap_err().to_string();
        assert!(e.contains("unable to prepare context: path") && e.contains("not found"), "{e}");
        let e = Folder::open(dir.path(), "Dockerfile").unwrap_err().to_string();
        assert!(e.contains("Dockerfile: no such file"), "{e}");
    }
}
