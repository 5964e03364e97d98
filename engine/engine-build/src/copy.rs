//! `COPY` and `ADD`: what is meant by the sources, their digests for the cache, and the copying itself.

use std::ffi::OsStr;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use engine_image::archive::{self, ExtractOptions, NoWatch, PackMode, Reader, Writer};
use engine_image::digest::Hasher;
use engine_image::dirfd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::error::BuildError;
use crate::golang;

const BUFFER: usize = 256 * 1024;

/// One thing to copy.
pub(crate) struct Source {
    /// Below the source's root, links not yet followed.
    pub path: PathBuf,
    /// `file:HEX` or `dir:HEX`.
    pub digest: String,
    pub is_folder: bool,
    /// From a URL: never unpacked.
    pub downloaded: bool,
}

/// Finds what one source word means below a root; `from_context` chooses the words of errors.
pub(crate) fn find(root: BorrowedFd<'_>, word: &str, from_context: bool) -> Result<Vec<Source>, BuildError> {
    if from_context && climbs_out(word) {
        return Err(BuildError::failed(format!(
            "COPY failed: forbidden path outside the build context: {word} ()"
        )));
    }
    if !has_wildcards(word) {
        return Ok(vec![examine(root, &dirfd::clean(Path::new(word)), word, from_context)?]);
    }
    let pattern = dirfd::clean(Path::new(word));
    let mut found = Vec::new();
    walk(root, Path::new(""), &pattern.to_string_lossy(), &mut found)
        .map_err(|error| BuildError::failed(format!("COPY failed: {error}")))?;
    found.iter().map(|path| examine(root, path, word, from_context)).collect()
}

/// A file that was fetched.
pub(crate) fn downloaded(root: BorrowedFd<'_>, name: &str) -> Result<Source, BuildError> {
    let source = examine(root, Path::new(name), name, true)?;
    Ok(Source { downloaded: true, ..source })
}

fn climbs_out(word: &str) -> bool {
    let mut depth = 0;
    Path::new(word).components().any(|component| {
        match component {
            std::path::Component::ParentDir => depth -= 1,
            std::path::Component::Normal(_) => depth += 1,
            _ => {}
        }
        depth < 0
    })
}

fn has_wildcards(word: &str) -> bool {
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

fn walk(root: BorrowedFd<'_>, folder: &Path, pattern: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let opened = dirfd::open_in(root, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
    for name in dirfd::entries(opened.as_fd())? {
        let path = folder.join(&name);
        if golang::matches(pattern, &path.to_string_lossy())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "syntax error in pattern"))?
        {
            found.push(path.clone());
        }
        let stat = rustix::fs::statat(&opened, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let deeper = pattern.matches('/').count() > path.components().count() - 1;
        if deeper && FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            walk(root, &path, pattern, found)?;
        }
    }
    Ok(())
}

fn examine(root: BorrowedFd<'_>, path: &Path, word: &str, from_context: bool) -> Result<Source, BuildError> {
    let stat = dirfd::stat_in(root, path).map_err(|_| {
        let shown = word.trim_start_matches('/');
        BuildError::failed(match from_context {
            true => format!(
                "COPY failed: file not found in build context or excluded by .dockerignore: stat {shown}: file does not exist"
            ),
            false => format!("COPY failed: stat {shown}: file does not exist"),
        })
    })?;
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let mut hasher = Hasher::new();
    let opened =
        dirfd::open_in(root, path, OFlags::PATH).map_err(|error| BuildError::failed(error.to_string()))?;
    let hashed =
        if is_folder { hash_folder(&opened, &mut hasher) } else { hash_opened(&opened, &mut hasher) };
    hashed.map_err(|error| BuildError::failed(format!("COPY failed: could not read {word}: {error}")))?;
    let digest = format!("{}:{}", if is_folder { "dir" } else { "file" }, hasher.finish().hex());
    Ok(Source { path: path.to_owned(), digest, is_folder, downloaded: false })
}

/// What of an entry counts for the cache: all but its times, as in Docker.
fn hash_stat(stat: &rustix::fs::Stat, hasher: &mut Hasher) {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let size = if kind == FileType::RegularFile { stat.st_size } else { 0 };
    hasher.update(
        format!("{:o} {} {} {size} {}\n", stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev).as_bytes(),
    );
}

fn hash_opened(opened: &OwnedFd, hasher: &mut Hasher) -> io::Result<()> {
    let stat = rustix::fs::fstat(opened)?;
    hash_stat(&stat, hasher);
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(opened));
        hash_content(std::fs::File::open(again)?, hasher)?;
    }
    Ok(())
}

fn hash_content(mut file: std::fs::File, hasher: &mut Hasher) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn hash_folder(folder: &OwnedFd, hasher: &mut Hasher) -> io::Result<()> {
    hash_stat(&rustix::fs::fstat(folder)?, hasher);
    let readable =
        rustix::fs::openat(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for name in dirfd::entries(readable.as_fd())? {
        hasher.update(name.as_bytes());
        hasher.update(b"\0");
        let stat = rustix::fs::statat(&readable, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let inner = rustix::fs::openat(&readable, &name, flags | OFlags::PATH, Mode::empty())?;
                hash_folder(&inner, hasher)?;
            }
            FileType::RegularFile => {
                hash_stat(&stat, hasher);
                let inner = rustix::fs::openat(&readable, &name, flags | OFlags::RDONLY, Mode::empty())?;
                hash_content(inner.into(), hasher)?;
            }
            FileType::Symlink => {
                hash_stat(&stat, hasher);
                hasher.update(rustix::fs::readlinkat(&readable, &name, Vec::new())?.as_bytes());
            }
            _ => hash_stat(&stat, hasher),
        }
    }
    Ok(())
}

/// The digest shown for all sources of one instruction.
pub(crate) fn digest_of<'a>(sources: impl Iterator<Item = &'a Source>) -> String {
    match sources.collect::<Vec<_>>().as_slice() {
        [only] => only.digest.clone(),
        many => {
            let joined: Vec<&str> = many.iter().map(|source| source.digest.as_str()).collect();
            let mut hasher = Hasher::new();
            hasher.update(joined.join(",").as_bytes());
            format!("multi:{}", hasher.finish().hex())
        }
    }
}

/// Where a step copies to.
pub(crate) struct Destination<'a> {
    /// The step's root file system, writable.
    pub root: BorrowedFd<'a>,
    /// Absolute; a slash at the end says folder.
    pub path: &'a str,
    /// Who shall own what is copied; none keeps the source's owners.
    pub owner: Option<(u32, u32)>,
    /// `ADD`: unpack local archives.
    pub unpack: bool,
}

/// Copies one source.
pub(crate) fn copy(from: BorrowedFd<'_>, source: &Source, to: &Destination<'_>) -> Result<(), BuildError> {
    copy_to(from, source, to).map_err(|error| BuildError::failed(format!("failed to copy files: {error}")))
}

fn copy_to(from: BorrowedFd<'_>, source: &Source, to: &Destination<'_>) -> io::Result<()> {
    let target = dirfd::clean(Path::new(to.path));
    let made = Some(to.owner.unwrap_or((0, 0)));
    if source.is_folder {
        let folder = dirfd::make_folders_in(to.root, &target, 0o755, made)?;
        let tree = dirfd::open_in(from, &source.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        return through_pipe(folder.as_fd(), to.owner, |out| {
            archive::pack(tree.as_fd(), PackMode::Tree, out)
        });
    }
    if to.unpack && !source.downloaded && unpack_archive(from, source, to, &target)? {
        return Ok(());
    }
    let into_folder = to.path.ends_with('/') || is_folder(to.root, &target);
    let target = match (into_folder, source.path.file_name()) {
        (true, Some(name)) => target.join(name),
        _ => target,
    };
    // The content of what a link means, under the link's name.
    let (parent, name) = resolved(from, &source.path)?;
    let target = through_links(to.root, target)?;
    let folder = dirfd::make_folders_in(to.root, target.parent().unwrap_or(Path::new("")), 0o755, made)?;
    let renamed = target.file_name().unwrap_or(OsStr::new("file")).to_owned();
    through_pipe(folder.as_fd(), to.owner, |out| archive::pack_entry(parent.as_fd(), &name, &renamed, out))
}

fn is_folder(root: BorrowedFd<'_>, path: &Path) -> bool {
    dirfd::stat_in(root, path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// The folder and name of what a path means after all links.
fn resolved(root: BorrowedFd<'_>, path: &Path) -> io::Result<(OwnedFd, std::ffi::OsString)> {
    let real = through_links(root, path.to_owned())?;
    let parent = dirfd::open_folder_in(root, real.parent().unwrap_or(Path::new("")))?;
    let name = real.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    Ok((parent, name))
}

/// Follows final links, inside the root.
fn through_links(root: BorrowedFd<'_>, mut path: PathBuf) -> io::Result<PathBuf> {
    for _ in 0..40 {
        let Ok(opened) = dirfd::open_in(root, &path, OFlags::PATH | OFlags::NOFOLLOW) else {
            return Ok(path);
        };
        let stat = rustix::fs::fstat(&opened)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(path);
        }
        let link = rustix::fs::readlinkat(&opened, "", Vec::new())?;
        let link = Path::new(OsStr::from_bytes(link.as_bytes()));
        path = dirfd::clean(&path.parent().unwrap_or(Path::new("")).join(link));
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "too many levels of symbolic links"))
}

/// `ADD` of an archive: unpacked, owners as in the archive. False if it is none.
fn unpack_archive(
    from: BorrowedFd<'_>,
    source: &Source,
    to: &Destination<'_>,
    target: &Path,
) -> io::Result<bool> {
    let open =
        || Ok::<_, io::Error>(BufReader::with_capacity(BUFFER, dirfd::open_file_in(from, &source.path)?));
    let Ok(file) = open() else { return Ok(false) };
    let Ok((_, tar)) = archive::decompress(file) else { return Ok(false) };
    let mut probe = Reader::new(tar, NoWatch);
    if !matches!(probe.next_entry(), Ok(Some(_))) {
        return Ok(false);
    }
    let folder = dirfd::make_folders_in(to.root, target, 0o755, Some((0, 0)))?;
    let (_, tar) = archive::decompress(open()?)?;
    archive::extract(folder.as_fd(), &mut Reader::new(tar, NoWatch), &ExtractOptions::default())?;
    Ok(true)
}

/// Packs on one thread and unpacks on another.
fn through_pipe(
    to: BorrowedFd<'_>,
    owner: Option<(u32, u32)>,
    pack: impl FnOnce(&mut Writer<io::BufWriter<io::PipeWriter>>) -> io::Result<()> + Send,
) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let packer = scope.spawn(move || {
            let mut out = Writer::new(io::BufWriter::with_capacity(BUFFER, writer));
            pack(&mut out)?;
            out.finish()?.flush()
        });
        let options = ExtractOptions { owner, ..ExtractOptions::default() };
        let mut tar = Reader::new(BufReader::with_capacity(BUFFER, reader), NoWatch);
        let unpacked = archive::extract(to, &mut tar, &options).and_then(|_| tar.finish());
        let packed = packer.join().unwrap_or_else(|_| Err(io::Error::other("packing panicked")));
        unpacked?;
        packed
    })
}
