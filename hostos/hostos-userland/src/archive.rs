//! `tar`, `gzip`, `gunzip` and `zcat`, as far as units fetch and unpack things with them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder};

/// Pack and unpack archives
#[derive(Debug, Parser)]
#[command(name = "tar")]
struct Tar {
    /// Make one
    #[arg(short = 'c', long)]
    create: bool,
    /// Unpack one
    #[arg(short = 'x', long, visible_alias = "get")]
    extract: bool,
    /// Say what is in it
    #[arg(short = 't', long)]
    list: bool,
    /// Compress it with gzip; reading finds out by itself
    #[arg(short = 'z', long, alias = "gunzip", alias = "ungzip")]
    gzip: bool,
    /// The archive; - and nothing mean standard input or output
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Go to this folder first
    #[arg(short = 'C', long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
    /// Name what is packed or unpacked
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Leave out so many folders of each name
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    strip_components: usize,
    /// Keep the permissions as they are
    #[arg(short = 'p', long, alias = "same-permissions")]
    preserve_permissions: bool,
    /// Do not give files to their old owners
    #[arg(long)]
    no_same_owner: bool,
    /// What to pack, or what of it to unpack
    paths: Vec<PathBuf>,
}

pub(crate) fn tar(mut args: Vec<OsString>) -> ExitCode {
    // The old form: `tar xzf FILE`.
    if let Some(word) = args.get(1).and_then(|word| word.to_str())
        && !word.starts_with('-')
        && word.chars().all(|c| "ctxzvfpC".contains(c))
    {
        args[1] = OsString::from(format!("-{word}"));
    }
    let call = match Tar::try_parse_from(args) {
        Ok(call) => call,
        Err(usage) => return crate::misused(&usage),
    };
    let done = match (call.create, call.extract, call.list) {
        (true, false, false) => pack(&call),
        (false, true, false) => unpack(&call),
        (false, false, true) => list(&call),
        _ => return crate::failed("tar", "say one of -c, -x and -t"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tar: {error}");
            ExitCode::from(2)
        }
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn is_standard(file: Option<&Path>) -> bool {
    file.is_none_or(|file| file == Path::new("-"))
}

/// The bytes of the archive, without their compression.
fn source(call: &Tar) -> io::Result<Box<dyn Read>> {
    let raw: Box<dyn Read> = match call.file.as_deref().filter(|file| !is_standard(Some(file))) {
        Some(file) => Box::new(File::open(file).map_err(|error| named(file, &error))?),
        None => Box::new(io::stdin()),
    };
    let mut raw = BufReader::new(raw);
    let start = io::BufRead::fill_buf(&mut raw)?;
    let zipped = start.starts_with(&[0x1F, 0x8B]);
    for (magic, name) in [(&b"BZh"[..], "bzip2"), (b"\xFD7zXZ", "xz"), (b"\x28\xB5\x2F\xFD", "zstd")] {
        if start.starts_with(magic) {
            let message = format!("the archive is packed with {name}, which is not here; gzip is");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
    }
    Ok(if zipped { Box::new(MultiGzDecoder::new(raw)) } else { Box::new(raw) })
}

fn unpack(call: &Tar) -> io::Result<()> {
    let mut archive = Archive::new(source(call)?);
    let root = nix::unistd::geteuid().is_root();
    archive.set_preserve_permissions(root || call.preserve_permissions);
    archive.set_preserve_ownerships(root && !call.no_same_owner);
    archive.set_overwrite(true);
    let into = call.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let mut found = vec![false; call.paths.len()];
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if !wanted(call, &path, &mut found) {
            continue;
        }
        let parts: PathBuf = path
            .components()
            .filter(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::ParentDir))
            .skip(call.strip_components)
            .collect();
        if parts.as_os_str().is_empty() {
            continue;
        }
        if call.verbose {
            println!("{}", path.display());
        }
        if call.strip_components == 0 {
            if !entry.unpack_in(&into)? {
                let message = format!("{}: it leads out of the folder", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            continue;
        }
        if parts.components().any(|part| part == std::path::Component::ParentDir) {
            let message = format!("{}: it leads out of the folder", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let target = into.join(parts);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| named(parent, &error))?;
        }
        entry.unpack(&target).map_err(|error| named(&target, &error))?;
    }
    missing(call, &found)
}

fn list(call: &Tar) -> io::Result<()> {
    let mut archive = Archive::new(source(call)?);
    let mut found = vec![false; call.paths.len()];
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        if wanted(call, &path, &mut found) {
            writeln!(io::stdout(), "{}", path.display())?;
        }
    }
    missing(call, &found)
}

/// Whether the call names this entry, or a folder that it is in, or nothing at all.
fn wanted(call: &Tar, path: &Path, found: &mut [bool]) -> bool {
    let plain = path.strip_prefix(".").unwrap_or(path);
    let mut any = call.paths.is_empty();
    for (wish, found) in call.paths.iter().zip(found) {
        if plain.starts_with(wish.strip_prefix(".").unwrap_or(wish)) {
            (*found, any) = (true, true);
        }
    }
    any
}

fn missing(call: &Tar, found: &[bool]) -> io::Result<()> {
    match call.paths.iter().zip(found).find(|(_, found)| !**found) {
        None => Ok(()),
        Some((path, _)) => {
            let message = format!("{}: Not found in archive", path.display());
            Err(io::Error::new(io::ErrorKind::NotFound, message))
        }
    }
}

fn pack(call: &Tar) -> io::Result<()> {
    if call.paths.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "name what to pack"));
    }
    let out: Box<dyn Write> = match call.file.as_deref().filter(|file| !is_standard(Some(file))) {
        Some(file) => Box::new(File::create(file).map_err(|error| named(file, &error))?),
        None => Box::new(io::stdout()),
    };
    let zips = call.gzip
        || call.file.as_deref().and_then(Path::extension).is_some_and(|kind| kind == "gz" || kind == "tgz");
    let mut builder = if zips {
        Builder::new(Box::new(GzEncoder::new(out, Compression::default())) as Box<dyn Write>)
    } else {
        Builder::new(Box::new(BufWriter::new(out)) as Box<dyn Write>)
    };
    builder.follow_symlinks(false);
    for path in &call.paths {
        let from = call.directory.as_ref().map_or_else(|| path.clone(), |folder| folder.join(path));
        let name = path.strip_prefix("/").unwrap_or(path);
        if call.verbose {
            eprintln!("{}", name.display());
        }
        let packed = if fs::symlink_metadata(&from).map_err(|error| named(&from, &error))?.is_dir() {
            builder.append_dir_all(if name.as_os_str().is_empty() { Path::new(".") } else { name }, &from)
        } else {
            builder.append_path_with_name(&from, name)
        };
        packed.map_err(|error| named(&from, &error))?;
    }
    builder.into_inner()?.flush()
}

/// Compress files with gzip
#[derive(Debug, Parser)]
#[command(name = "gzip")]
struct Gzip {
    /// Unpack instead
    #[arg(short = 'd', long, visible_aliases = ["uncompress", "decompress"])]
    unpack: bool,
    /// Write to the standard output, keep the file
    #[arg(short = 'c', long, visible_alias = "to-stdout")]
    stdout: bool,
    /// Keep the file
    #[arg(short = 'k', long)]
    keep: bool,
    /// Write over what is there
    #[arg(short = 'f', long)]
    force: bool,
    /// Fast
    #[arg(short = '1', long)]
    fast: bool,
    /// Small
    #[arg(short = '9', long)]
    best: bool,
    /// Files; none means standard input to standard output
    files: Vec<PathBuf>,
}

pub(crate) fn gzip(args: Vec<OsString>) -> ExitCode {
    zip(args, &[])
}

pub(crate) fn gunzip(args: Vec<OsString>) -> ExitCode {
    zip(args, &["-d"])
}

pub(crate) fn zcat(args: Vec<OsString>) -> ExitCode {
    zip(args, &["-d", "-c"])
}

fn zip(args: Vec<OsString>, flags: &[&str]) -> ExitCode {
    let mut words = args.into_iter();
    let name = words.next().into_iter();
    let call = match Gzip::try_parse_from(name.chain(flags.iter().map(OsString::from)).chain(words)) {
        Ok(call) => call,
        Err(usage) => return crate::misused(&usage),
    };
    let done = if call.files.is_empty() {
        copy(&call, io::stdin(), io::stdout())
    } else {
        call.files.iter().try_for_each(|file| one(&call, file).map_err(|error| named(file, &error)))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::failed("gzip", &error.to_string()),
    }
}

fn one(call: &Gzip, path: &Path) -> io::Result<()> {
    if path == Path::new("-") {
        return copy(call, io::stdin(), io::stdout());
    }
    let source = File::open(path)?;
    if call.stdout {
        return copy(call, source, io::stdout());
    }
    let target = if call.unpack {
        match path.extension() {
            Some(kind) if kind == "gz" => path.with_extension(""),
            Some(kind) if kind == "tgz" => path.with_extension("tar"),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "unknown suffix -- ignored")),
        }
    } else {
        let mut name = path.as_os_str().to_owned();
        name.push(".gz");
        PathBuf::from(name)
    };
    if target.exists() && !call.force {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the result is there already; -f replaces it",
        ));
    }
    let permissions = source.metadata()?.permissions();
    let out = File::create(&target)?;
    let copied = copy(call, source, &out).and_then(|()| out.set_permissions(permissions));
    if let Err(error) = copied {
        let _ = fs::remove_file(&target);
        return Err(error);
    }
    if call.keep { Ok(()) } else { fs::remove_file(path) }
}

fn copy(call: &Gzip, source: impl Read, mut out: impl Write) -> io::Result<()> {
    if call.unpack {
        io::copy(&mut MultiGzDecoder::new(source), &mut out)?;
        return out.flush();
    }
    let level = match (call.fast, call.best) {
        (true, _) => Compression::fast(),
        (_, true) => Compression::best(),
        _ => Compression::default(),
    };
    let mut encoder = GzEncoder::new(out, level);
    io::copy(&mut BufReader::new(source), &mut encoder)?;
    encoder.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> io::Result<()> {
        let call = Tar::try_parse_from(["tar"].iter().chain(words)).expect("it parses");
        if call.create { pack(&call) } else { unpack(&call) }
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir_all(at("in/sub")).expect("made");
        fs::write(at("in/sub/file"), "x").expect("written");
        std::os::unix::fs::symlink("sub/file", at("in/link")).expect("made");
        fs::create_dir_all(at("out")).expect("made");
        let archive = at("a.tar.gz");
        run(&["-c", "-z", "-f", &archive, "-C", &at("in"), "sub", "link"]).expect("it packs");
        run(&["-x", "-f", &archive, "-C", &at("out"), "--strip-components", "1"]).expect("it unpacks");
        assert_eq!(fs::read_to_string(at("out/file")).expect("there"), "x");
        run(&["-x", "-f", &archive, "-C", &at("out"), "link"]).expect("it unpacks");
        assert!(fs::symlink_metadata(at("out/link")).expect("there").is_symlink());
        assert!(!dir.path().join("out/sub").exists());
        assert!(run(&["-x", "-f", &archive, "-C", &at("out"), "nothing"]).is_err());
    }

    #[test]
    fn nothing_is_unpacked_outside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut builder = Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.as_gnu_mut().expect("gnu").name[..9].copy_from_slice(b"../escape");
        header.set_cksum();
        builder.append(&header, &b"x"[..]).expect("it packs");
        let archive = dir.path().join("a.tar");
        fs::write(&archive, builder.into_inner().expect("bytes")).expect("written");
        let into = dir.path().join("in");
        fs::create_dir(&into).expect("made");
        let words = ["-x", "-f", archive.to_str().expect("text"), "-C", into.to_str().expect("text")];
        assert!(run(&words).is_err());
        assert!(!dir.path().join("escape").exists());
    }
}
