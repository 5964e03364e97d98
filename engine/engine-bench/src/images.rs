//! The images that are worked with: a small one of busybox, and a large synthetic one.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::engine::Engine;
use crate::http::Body;

/// The small image's name.
pub(crate) const BUSYBOX: &str = "busybox";
/// A file in it: so many lines of a hundred bytes.
pub(crate) const LINES: &str = "/lines";
pub(crate) const BYTES_OF_LINES: usize = 10_000_000;
const LINE: usize = 100;

const APPLETS: [&str; 6] = ["sh", "true", "sleep", "echo", "cat", "yes"];

/// A root file system of the static busybox, as a tar.
pub(crate) fn busybox() -> Result<Vec<u8>> {
    let program = find("busybox").context("no busybox in PATH; install busybox-static")?;
    let program = std::fs::read(program)?;
    let mut tar = tar::Builder::new(Vec::new());
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        let mut header = header(0, 0o755);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
    }
    put(&mut tar, "bin/busybox", &program, 0o755)?;
    for applet in APPLETS {
        let mut header = header(0, 0o777);
        header.set_entry_type(tar::EntryType::Symlink);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    put(&mut tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n", 0o644)?;
    let mut line = [b'x'; LINE];
    line[LINE - 1] = b'\n';
    put(&mut tar, LINES.trim_start_matches('/'), &line.repeat(BYTES_OF_LINES / LINE), 0o644)?;
    Ok(tar.into_inner()?)
}

/// Imports it.
pub(crate) fn import(engine: &Engine, tree: &[u8]) -> Result<()> {
    let path = format!("/images/create?fromSrc=-&repo={BUSYBOX}&tag=latest&changes=ENV%20PATH%3D/bin");
    engine.client().progress("POST", &path, Body::Tar(tree))
}

/// Size of the large image.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) layers: usize,
    /// Files of [`FILE`] bytes in each layer.
    pub(crate) files: usize,
}

const FILE: usize = 256 * 1024;

/// Writes the archive of a synthetic image under this name, as `docker save` would.
/// Half of each file is noise, so that about half compresses away.
pub(crate) fn synthetic(path: &Path, name: &str, size: Size) -> Result<u64> {
    let mut archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let (mut diff_ids, mut names) = (Vec::new(), Vec::new());
    for layer in 0..size.layers {
        let bytes = layer_tar(layer, size.files, &mut noise)?;
        let digest = hex::encode(Sha256::digest(&bytes));
        let name = format!("{digest}/layer.tar");
        put(&mut archive, &name, &bytes, 0o644)?;
        diff_ids.push(format!("sha256:{digest}"));
        names.push(name);
    }
    let history: Vec<_> = diff_ids.iter().map(|_| json!({ "created": "2026-01-01T00:00:00Z" })).collect();
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": { "Cmd": ["/bin/true"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    }))?;
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    put(&mut archive, &config_name, &config, 0o644)?;
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": names }]);
    put(&mut archive, "manifest.json", &serde_json::to_vec(&manifest)?, 0o644)?;
    archive.into_inner()?.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    Ok(path.metadata()?.len())
}

fn layer_tar(layer: usize, files: usize, noise: &mut Noise) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::with_capacity(files * (FILE + 512) + 1024));
    for file in 0..files {
        let mut bytes = Vec::with_capacity(FILE);
        while bytes.len() < FILE / 2 {
            bytes.extend_from_slice(&noise.next().to_le_bytes());
        }
        while bytes.len() < FILE {
            bytes.extend_from_slice(format!("{file:08} some compressible text of a layer\n").as_bytes());
        }
        bytes.truncate(FILE);
        put(&mut tar, &format!("layer{layer}/folder{}/file{file}", file % 8), &bytes, 0o644)?;
    }
    Ok(tar.into_inner()?)
}

/// xorshift: the same noise in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A tar with one Dockerfile: a build's context.
pub(crate) fn context(dockerfile: &str) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    put(&mut tar, "Dockerfile", dockerfile.as_bytes(), 0o644)?;
    Ok(tar.into_inner()?)
}

fn put(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = header(bytes.len() as u64, mode);
    tar.append_data(&mut header, name, bytes).with_context(|| format!("could not pack {name}"))
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(1_767_225_600);
    header
}

/// A program in PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}
