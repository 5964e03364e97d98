//! Builds one release and puts it where it belongs, whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ed25519_dalek::SigningKey;
use hostos_api::manifest::{FORMAT, Flavor, MANIFEST_FILE, Manifest, ReleaseFile, SIGNATURE_FILE};
use sha2::{Digest, Sha256};

use crate::Progress;
use crate::kernel::{self, Kernel, KernelError};
use crate::programs::Programs;
use crate::rootfs::{self, Identity, RootError};
use crate::sign::{self, SignError};
use crate::tree::{Node, Tree};
use crate::{cpio, squashfs};

/// What every boot needs: a console for the last words, an end instead of a hang after a panic, and
/// no timer check, which fails at times under an emulated CPU.
const CMDLINE: &str = "console=ttyS0 panic=-1 no_timer_check quiet";

const KERNEL_FILE: &str = "vmlinuz";
const INITRAMFS_FILE: &str = "initrd.zst";
const PXE_SCRIPT: &str = "boot.ipxe";

/// What to build from what.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which computers it is for.
    pub flavor: Flavor,
    /// The recipes: `modules/FLAVOR.list` and `rootfs/`; this is `images/` of the workspace.
    pub recipes: PathBuf,
    /// The static programs.
    pub programs: Programs,
    /// Where packages are kept between builds.
    pub cache: PathBuf,
    /// The directory of the release; replaced as a whole.
    pub output: PathBuf,
    /// Version of the userland.
    pub version: String,
    /// Seconds since 1970 that the release is dated at; no clock of a machine may show less.
    pub date: u32,
    /// Key that signs the manifest; made when there is none.
    pub signing_key: PathBuf,
}

impl Options {
    /// The usual build of the workspace at `workspace`: packages are kept in `TARGET/image/cache`,
    /// the release goes to `TARGET/image/FLAVOR`, dated at the last commit and signed with the key that
    /// `RMACHINE_SIGNING_KEY` names, or with one that is made there.
    #[must_use]
    pub fn for_workspace(workspace: &Path, target: &Path, flavor: Flavor, programs: Programs) -> Self {
        let image = target.join("image");
        Self {
            flavor,
            recipes: workspace.join("images"),
            programs,
            cache: image.join("cache"),
            output: image.join(flavor_name(flavor)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            date: commit_date(workspace).unwrap_or(FLOOR),
            signing_key: std::env::var_os(SIGNING_KEY).map_or(image.join("signing-key.pem"), PathBuf::from),
        }
    }
}

/// Variable that names the signing key. Two builds give the same bytes only under the same key.
const SIGNING_KEY: &str = "RMACHINE_SIGNING_KEY";

/// When there is no history to ask, releases are dated 2026-11-01.
const FLOOR: u32 = 1_793_491_200;

fn commit_date(workspace: &Path) -> Option<u32> {
    let shown = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(workspace)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(shown.stdout).ok()?.trim().parse().ok()
}

fn flavor_name(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::Vm => "vm",
        Flavor::Metal => "metal",
    }
}

/// A release that was built.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its directory.
    pub dir: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
    /// Bytes of the root's parts before compression, largest first.
    pub components: Vec<(String, u64)>,
}

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The stage 1 program.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The root does not compress.
    #[error("cannot write the read-only root")]
    Squashfs(#[source] backhand::BackhandError),
    /// The initramfs does not compress.
    #[error("cannot compress the initramfs")]
    Compress(#[source] io::Error),
    /// The release cannot be written.
    #[error("cannot write the release to {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why; a full disk says so.
        source: io::Error,
    },
}

/// Builds the release that `options` describe and replaces the one in `options.output`.
pub fn build(options: &Options, progress: Progress<'_>) -> Result<Release, BuildError> {
    let list = options.recipes.join("modules").join(format!("{}.list", flavor_name(options.flavor)));
    let kernel = kernel::take(options.flavor, &list, &options.cache, progress)?;
    assemble(options, kernel, progress)
}

/// Everything of [`build`] that does not come from outside: the same kernel, programs, recipes, date
/// and key give the same bytes.
fn assemble(options: &Options, kernel: Kernel, progress: Progress<'_>) -> Result<Release, BuildError> {
    progress("assembling the root");
    let identity = Identity { version: &options.version, date: options.date };
    let mut root = rootfs::assemble(&options.recipes.join("rootfs"), &kernel, &options.programs, &identity)?;
    let key = sign::load_or_make(&options.signing_key)?;
    root.file("usr/lib/rmachine/release.pub", 0o644, sign::public_pem(&key)?.into_bytes());
    let components = components(&root);
    progress("compressing the root");
    let root = squashfs::write(&root, options.date).map_err(BuildError::Squashfs)?;
    progress("compressing the initramfs");
    let initramfs = initramfs(&kernel, &options.programs, root)?;
    let contents = BTreeMap::from([
        (PXE_SCRIPT.to_owned(), pxe_script().into_bytes()),
        (KERNEL_FILE.to_owned(), kernel.image),
        (INITRAMFS_FILE.to_owned(), initramfs),
    ]);
    let manifest = Manifest {
        format: FORMAT,
        version: options.version.clone(),
        flavor: options.flavor,
        kernel_version: kernel.release,
        cmdline: CMDLINE.to_owned(),
        kernel: KERNEL_FILE.to_owned(),
        initramfs: INITRAMFS_FILE.to_owned(),
        files: contents.iter().map(|(name, bytes)| (name.clone(), describe(bytes))).collect(),
    };
    progress("writing the release");
    write(&options.output, &contents, &manifest, &key)
        .map_err(|source| BuildError::Write { path: options.output.clone(), source })?;
    Ok(Release { dir: options.output.clone(), manifest, components })
}

fn initramfs(kernel: &Kernel, programs: &Programs, root: Vec<u8>) -> Result<Vec<u8>, BuildError> {
    let path = &programs.stage1;
    let stage1 = fs::read(path).map_err(|source| BuildError::Read { path: path.clone(), source })?;
    let mut tree = Tree::default();
    tree.char_device("dev/console", 0o600, 5, 1);
    tree.dir("newroot", 0o755);
    tree.dir("proc", 0o755);
    tree.dir("sys", 0o755);
    tree.file("init", 0o755, stage1);
    tree.file("modules/load", 0o644, rootfs::load_list(&kernel.root).into_bytes());
    for module in &kernel.root {
        tree.file(&format!("modules/{}", module.path), 0o644, module.content.clone());
    }
    tree.file("root.squashfs", 0o644, root);
    zstd::bulk::compress(&cpio::write(&tree), 19).map_err(BuildError::Compress)
}

/// How much each file of programs, and all modules together, contribute to the root.
fn components(root: &Tree) -> Vec<(String, u64)> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for (path, entry) in root.iter() {
        let Node::File(content) = &entry.node else { continue };
        let part = if path.starts_with("usr/lib/modules/") {
            "kernel modules"
        } else if path.starts_with("usr/bin/") {
            path
        } else {
            "files"
        };
        *sizes.entry(part).or_default() += content.len() as u64;
    }
    let mut parts: Vec<_> = sizes.into_iter().map(|(part, size)| (part.to_owned(), size)).collect();
    parts.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    parts
}

/// The directory of a release is a PXE tree as it is: iPXE finds the other files beside the script.
fn pxe_script() -> String {
    format!(
        "#!ipxe\n# Set rmachine-args before chaining here, for example to ignition.config.url=URL.\n\
         kernel {KERNEL_FILE} initrd={INITRAMFS_FILE} {CMDLINE} ${{rmachine-args}}\n\
         initrd --name {INITRAMFS_FILE} {INITRAMFS_FILE}\nboot\n"
    )
}

fn describe(bytes: &[u8]) -> ReleaseFile {
    ReleaseFile { sha256: hex::encode(Sha256::digest(bytes)), size: bytes.len() as u64 }
}

fn write(
    output: &Path,
    contents: &BTreeMap<String, Vec<u8>>,
    manifest: &Manifest,
    key: &SigningKey,
) -> io::Result<()> {
    let parent = output.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let fresh = tempfile::Builder::new().prefix(".release-").tempdir_in(parent)?;
    for (name, bytes) in contents {
        write_file(&fresh.path().join(name), bytes)?;
    }
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    write_file(&fresh.path().join(MANIFEST_FILE), &text)?;
    write_file(&fresh.path().join(SIGNATURE_FILE), sign::signature(key, &text).as_bytes())?;
    replace(&fresh.keep(), output)
}

/// Puts `fresh` where `output` is. A reader sees the old or the new, or for an instant neither.
fn replace(fresh: &Path, output: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(fresh)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(fresh, permissions)?;
    if output.exists() {
        let old = output.with_extension("old");
        let _ = fs::remove_dir_all(&old);
        fs::rename(output, &old)?;
        fs::rename(fresh, output)?;
        return fs::remove_dir_all(&old);
    }
    fs::rename(fresh, output)
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::modules::Module;

    fn module(name: &str) -> Module {
        Module {
            name: name.to_owned(),
            path: format!("kernel/{name}.ko"),
            content: name.repeat(5000).into_bytes(),
            ..Module::default()
        }
    }

    fn kernel() -> Kernel {
        Kernel {
            release: "6.1.0-test".into(),
            image: vec![7; 100_000],
            root: vec![module("loop"), module("squashfs")],
            early: vec![module("virtio_net")],
            late: vec![module("bridge")],
            idle: vec![module("veth")],
            spare: Vec::new(),
            built_in: "kernel/fs/binfmt_script.ko\n".to_owned(),
        }
    }

    /// What a build in `dir` finds, made in an order and at a time of its own.
    fn options(dir: &Path, key: &Path, files: &[&str]) -> Options {
        let program = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        for file in files {
            let path = dir.join("images/rootfs").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, *file).unwrap();
        }
        let programs = Programs {
            stage1: program("stage1", "first"),
            hostbox: program("hostbox", "#!/bin/sh\nprintf 'ls\\ncat\\n'\n"),
            engine_shim: Some(program("shim", "between")),
        };
        Options {
            recipes: dir.join("images"),
            date: 1_700_000_000,
            version: "1.2.3".into(),
            signing_key: key.to_owned(),
            ..Options::for_workspace(dir, &dir.join("target"), Flavor::Vm, programs)
        }
    }

    #[test]
    fn two_builds_in_two_places_give_the_same_bytes() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = one.path().join("key.pem");
        let first = options(one.path(), &key, &["etc/passwd", "etc/shadow", "usr/lib/a"]);
        let second = options(other.path(), &key, &["usr/lib/a", "etc/shadow", "etc/passwd"]);
        let first = assemble(&first, kernel(), &|_| {}).unwrap();
        let second = assemble(&second, kernel(), &|_| {}).unwrap();
        let mut names: Vec<_> = first.manifest.files.keys().map(String::as_str).collect();
        assert_eq!(names, [PXE_SCRIPT, INITRAMFS_FILE, KERNEL_FILE]);
        names.extend([MANIFEST_FILE, SIGNATURE_FILE]);
        for name in names {
            let read = |release: &Release| fs::read(release.dir.join(name)).unwrap();
            assert!(read(&first) == read(&second), "{name} differs");
        }
        let public = sign::public_pem(&sign::load_or_make(&key).unwrap()).unwrap();
        assert_eq!(crate::verify(&second.dir, &public).unwrap(), second.manifest);
    }

    #[test]
    fn the_script_for_ipxe_names_the_files_beside_it() {
        let script = pxe_script();
        assert!(script.starts_with("#!ipxe\n"));
        assert!(script.contains("kernel vmlinuz initrd=initrd.zst console=ttyS0"));
        assert!(script.contains("initrd --name initrd.zst initrd.zst\nboot\n"));
    }
}
