//! `docker cp`: between a container and this host, either way; `-` is a tar on stdin or stdout.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Arg;
use engine_image::archive::{ExtractOptions, NoWatch, Reader, Writer, extract, pack_entry};
use engine_image::overlay::open_folder;

use crate::flags::{Options, flag};
use crate::http::{Body, Client, Failure, escape};

const BUFFER: usize = 128 * 1024;

pub(crate) fn flags() -> Vec<Arg> {
    vec![
        flag("archive", Some('a'), "Archive mode (copy all uid/gid information)"),
        flag("follow-link", Some('L'), "Always follow symbol link in SRC_PATH"),
        flag("quiet", Some('q'), "Suppress progress output during copy"),
    ]
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Container { name: &'a str, path: &'a str },
    Local(&'a str),
}

/// `NAME:PATH`; what begins with a slash or a dot is of this host.
fn place(text: &str) -> Place<'_> {
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with(['/', '.']) && !name.is_empty() => {
            Place::Container { name, path }
        }
        _ => Place::Local(text),
    }
}

pub(crate) fn cp(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let (source, target) = (options.arg(0), options.arg(1));
    let flags = Flags { archive: options.is_set("archive")?, follow: options.is_set("follow-link")? };
    match (place(&source), place(&target)) {
        (Place::Container { name, path }, Place::Local(to)) => from_container(client, name, path, to, flags),
        (Place::Local(from), Place::Container { name, path }) => {
            to_container(client, from, name, path, flags)
        }
        (Place::Container { .. }, Place::Container { .. }) => {
            Err(Failure::Usage("copying between containers is not supported".into()))
        }
        _ => Err(Failure::Usage("must specify at least one container source".into())),
    }?;
    Ok(0)
}

#[derive(Debug, Clone, Copy)]
struct Flags {
    archive: bool,
    follow: bool,
}

/// What is at a path of a container; `None` when nothing is.
struct Stat {
    is_folder: bool,
    link: String,
}

fn stat(client: &Client, name: &str, path: &str) -> Result<Option<Stat>, Failure> {
    let call = format!("/containers/{}/archive?path={}", escape(name), escape(path));
    let answer = match client.send("HEAD", &call, Body::None) {
        Ok(answer) => answer,
        Err(Failure::Missing) => {
            // Which of the two is missing is only told to a GET.
            client.send("GET", &format!("/containers/{}/json", escape(name)), Body::None)?;
            return Ok(None);
        }
        Err(failure) => return Err(failure),
    };
    let told = answer.path_stat()?;
    // Go's bit for folders.
    let is_folder = told["mode"].as_u64().unwrap_or(0) & 1 << 31 != 0;
    Ok(Some(Stat { is_folder, link: told["linkTarget"].as_str().unwrap_or_default().to_owned() }))
}

/// The last part of a path; empty for `.`, `/` and `x/.`, which mean what is inside.
fn last_part(path: &str) -> OsString {
    if path.ends_with("/.") || path == "." {
        return OsString::new();
    }
    Path::new(path).file_name().unwrap_or_default().to_owned()
}

fn from_container(client: &Client, name: &str, path: &str, to: &str, flags: Flags) -> Result<(), Failure> {
    let mut path = path.to_owned();
    let found = stat(client, name, &path)?;
    let found = found.ok_or_else(|| Failure::Refused {
        text: format!("Could not find the file {path} in container {name}"),
        status: 404,
    })?;
    let mut is_folder = found.is_folder;
    if flags.follow && !found.link.is_empty() {
        path = found.link;
        is_folder = stat(client, name, &path)?.is_some_and(|s| s.is_folder);
    }
    let call = format!("/containers/{}/archive?path={}", escape(name), escape(&path));
    let answer = client.send("GET", &call, Body::None)?;
    if to == "-" {
        return Ok(io::copy(&mut answer.into_reader(), &mut io::stdout().lock()).map(drop)?);
    }
    let target = Path::new(to);
    let mut tar = BufReader::with_capacity(BUFFER, answer.into_reader());
    match fs::metadata(target) {
        Ok(meta) if meta.is_dir() => unpack(target, &mut tar, flags),
        Ok(_) if is_folder => Err(Failure::Usage(format!("cannot copy directory to file {to}"))),
        Err(_) if to.ends_with('/') && !is_folder => {
            Err(Failure::Usage(format!("no such directory: {to}: make it first")))
        }
        Err(_) if last_part(&path).is_empty() => {
            fs::create_dir(target).map_err(|e| Failure::Usage(format!("mkdir {to}: {e}")))?;
            unpack(target, &mut tar, flags)
        }
        _ => unpack_as(target, &last_part(&path), &mut tar, flags),
    }
}

fn unpack(folder: &Path, tar: &mut impl io::BufRead, flags: Flags) -> Result<(), Failure> {
    let opened = open_folder(folder)?;
    let mut reader = Reader::new(tar, NoWatch);
    extract(opened.as_fd(), &mut reader, &extract_options(flags))?;
    reader.finish()?;
    Ok(())
}

/// Without `-a` everything copied is the caller's.
fn extract_options(flags: Flags) -> ExtractOptions {
    let own = || (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    ExtractOptions { owner: (!flags.archive).then(own), ..ExtractOptions::default() }
}

/// Unpacks beside the target first, because in the archive it has another name.
fn unpack_as(target: &Path, name: &OsStr, tar: &mut impl io::BufRead, flags: Flags) -> Result<(), Failure> {
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(Failure::Usage(format!(
            "invalid output path: directory \"{}\" does not exist",
            parent.display()
        )));
    }
    let beside = tempfile::Builder::new()
        .prefix(".docker-cp-")
        .tempdir_in(parent)
        .map_err(|e| Failure::Usage(format!("could not write to {}: {e}", parent.display())))?;
    unpack(beside.path(), tar, flags)?;
    fs::rename(beside.path().join(name), target)
        .map_err(|e| Failure::Usage(format!("could not make {}: {e}", target.display())))
}

fn to_container(client: &Client, from: &str, name: &str, path: &str, flags: Flags) -> Result<(), Failure> {
    let mut found = stat(client, name, path)?;
    let mut path = path.to_owned();
    if let Some(link) = found.as_ref().map(|s| s.link.clone()).filter(|link| !link.is_empty()) {
        path = link;
        found = stat(client, name, &path)?;
    }
    if from == "-" {
        if !found.is_some_and(|s| s.is_folder) {
            return Err(Failure::Usage(format!("destination \"{name}:{path}\" must be a directory")));
        }
        return put(client, name, &path, &mut io::stdin().lock());
    }
    let source = if flags.follow { fs::canonicalize(from) } else { Ok(PathBuf::from(from)) };
    let meta = source.as_ref().map_err(|e| io::Error::from(e.kind())).and_then(fs::symlink_metadata);
    let meta = meta.map_err(|_| Failure::Usage(format!("lstat {from}: no such file or directory")))?;
    let source = source?;
    let folder_meant = meta.is_dir() || (from.ends_with('/') && source.is_dir());
    let into = match &found {
        Some(stat) if stat.is_folder => Into { folder: path.clone(), name: last_part(from) },
        Some(_) if folder_meant => return Err(Failure::Usage("cannot copy directory".into())),
        None if path.ends_with('/') && !folder_meant => {
            return Err(Failure::Usage(format!("destination directory \"{name}:{path}\" must exist")));
        }
        _ => split(&path),
    };
    send(client, name, &source, &into)
}

/// Where in the container, and under what name; an empty name is the contents alone.
struct Into {
    folder: String,
    name: OsString,
}

fn split(path: &str) -> Into {
    let clean = Path::new("/").join(path);
    let folder = clean.parent().unwrap_or(Path::new("/")).display().to_string();
    Into { folder, name: clean.file_name().unwrap_or_default().to_owned() }
}

fn send(client: &Client, name: &str, source: &Path, into: &Into) -> Result<(), Failure> {
    let real =
        fs::canonicalize(source.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    let (parent, own) = match source.file_name() {
        Some(own) if !source.as_os_str().to_string_lossy().ends_with("/.") => (real, own.to_owned()),
        // `.`, `..` and `/` have no name of their own.
        _ => {
            let whole = fs::canonicalize(source)?;
            let own = whole.file_name().map(OsStr::to_owned).unwrap_or_else(|| OsString::from("."));
            (whole.parent().map(Path::to_owned).unwrap_or_else(|| PathBuf::from("/")), own)
        }
    };
    let folder = open_folder(&parent)?;
    let renamed = if into.name.is_empty() { OsStr::new(".") } else { into.name.as_os_str() };
    let (mut reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let packer = scope.spawn(move || {
            let mut tar = Writer::new(BufWriter::with_capacity(BUFFER, writer));
            pack_entry(folder.as_fd(), &own, renamed, &mut tar)?;
            tar.finish()?.flush()
        });
        let sent = put(client, name, &into.folder, &mut reader);
        drop(reader);
        let packed = packer.join().unwrap_or_else(|_| Err(io::Error::other("packing panicked")));
        match (sent, packed) {
            (Ok(()), Err(error)) => {
                Err(Failure::Usage(format!("could not read {}: {error}", source.display())))
            }
            (sent, _) => sent,
        }
    })
}

fn put(client: &Client, name: &str, path: &str, tar: &mut dyn Read) -> Result<(), Failure> {
    let call =
        format!("/containers/{}/archive?path={}&noOverwriteDirNonDir=true", escape(name), escape(path));
    client.send("PUT", &call, Body::Stream(tar)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(place("c:/x"), Place::Container { name: "c", path: "/x" });
        for local in ["/a:b", "./c:d", "x", "-", ":x"] {
            assert_eq!(place(local), Place::Local(local));
        }
    }

    #[test]
    fn names_at_the_end() {
        assert_eq!(last_part("/etc/passwd"), "passwd");
        assert_eq!(last_part("/etc/"), "etc");
        for inside in ["/etc/.", ".", "/"] {
            assert_eq!(last_part(inside), "", "{inside}");
        }
        let into = split("/a/b/");
        assert_eq!((into.folder.as_str(), into.name.to_str()), ("/a", Some("b")));
    }
}
