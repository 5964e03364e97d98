//! The read-only root: recipe files, programs under all their names, modules and their lists.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kernel::Kernel;
use crate::modules::{self, Module};
use crate::programs::Programs;
use crate::tree::Tree;

/// Why the root cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A recipe or a program.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program does not say what it can be.
    #[error("{} does not list its names: {reason}", program.display())]
    Names {
        /// The program.
        program: PathBuf,
        /// What it said instead.
        reason: String,
    },
}

/// Directories that must exist in a root, most of them mount points.
const DIRS: &[(&str, u32)] = &[
    ("boot", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("usr/share", 0o755),
    ("var", 0o755),
];

/// Names that lead elsewhere: one place for programs, and what may be written lies below /var.
const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("sbin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib"),
    ("usr/sbin", "bin"),
    ("usr/lib64", "lib"),
    ("home", "var/home"),
    ("root", "var/roothome"),
    ("opt", "var/opt"),
    ("srv", "var/srv"),
    ("mnt", "var/mnt"),
    ("media", "run/media"),
    ("usr/local", "../var/usrlocal"),
    ("etc/mtab", "../proc/self/mounts"),
    ("etc/resolv.conf", "../run/resolv.conf"),
    ("etc/os-release", "../usr/lib/os-release"),
];

/// Files of the recipes that not everyone may read.
const SECRET: &[&str] = &["etc/shadow", "etc/gshadow"];

/// What the root says about itself.
pub(crate) struct Identity<'a> {
    pub(crate) version: &'a str,
    /// Seconds since 1970: no clock of a machine is right that shows less.
    pub(crate) date: u32,
}

/// Puts the root together from the recipes in `recipes` (a directory laid out like the root).
pub(crate) fn assemble(
    recipes: &Path,
    kernel: &Kernel,
    programs: &Programs,
    identity: &Identity<'_>,
) -> Result<Tree, RootError> {
    let mut tree = Tree::default();
    for (path, mode) in DIRS {
        tree.dir(path, *mode);
    }
    for (path, target) in LINKS {
        tree.link(path, target);
    }
    copy_recipes(recipes, recipes, &mut tree)?;
    add_programs(programs, &mut tree)?;
    add_modules(kernel, &mut tree);
    let id = identity;
    tree.file("usr/lib/os-release", 0o644, os_release(id.version).into_bytes());
    tree.file("usr/lib/build-date", 0o644, format!("{}\n", id.date).into_bytes());
    Ok(tree)
}

fn os_release(version: &str) -> String {
    format!(
        "ID=rmachine\nNAME=\"rmachine\"\nPRETTY_NAME=\"rmachine {version}\"\nVERSION=\"{version}\"\n\
         VERSION_ID=\"{version}\"\nIMAGE_ID=rmachine\nIMAGE_VERSION=\"{version}\"\n\
         HOME_URL=\"https://github.com/rmachine/rmachine\"\n"
    )
}

fn copy_recipes(base: &Path, dir: &Path, tree: &mut Tree) -> Result<(), RootError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| RootError::Read { path, source }
    };
    for entry in fs::read_dir(dir).map_err(fail(dir))? {
        let path = entry.map_err(fail(dir))?.path();
        let meta = fs::symlink_metadata(&path).map_err(fail(&path))?;
        let name = path.strip_prefix(base).expect("it was listed below").to_string_lossy().into_owned();
        if meta.is_dir() {
            copy_recipes(base, &path, tree)?;
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).map_err(fail(&path))?;
            tree.link(&name, &target.to_string_lossy());
        } else {
            let mode = match meta.permissions().mode() & 0o100 {
                _ if SECRET.contains(&name.as_str()) => 0o600,
                0 => 0o644,
                _ => 0o755,
            };
            tree.file(&name, mode, fs::read(&path).map_err(fail(&path))?);
        }
    }
    Ok(())
}

fn add_programs(programs: &Programs, tree: &mut Tree) -> Result<(), RootError> {
    let read =
        |path: &Path| fs::read(path).map_err(|source| RootError::Read { path: path.to_owned(), source });
    tree.file("usr/bin/hostbox", 0o755, read(&programs.hostbox)?);
    for name in applets(&programs.hostbox)? {
        tree.link(&format!("usr/bin/{name}"), "hostbox");
    }
    if let Some(shim) = &programs.engine_shim {
        tree.file("usr/bin/engine-shim", 0o755, read(shim)?);
    }
    Ok(())
}

/// The names under which `hostbox` does something: it is asked itself, so that the two cannot differ.
fn applets(hostbox: &Path) -> Result<Vec<String>, RootError> {
    let output = Command::new(hostbox)
        .arg("--list")
        .output()
        .map_err(|source| RootError::Read { path: hostbox.to_owned(), source })?;
    let names: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned).collect();
    if !output.status.success() || names.is_empty() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(RootError::Names { program: hostbox.to_owned(), reason });
    }
    Ok(names)
}

fn add_modules(kernel: &Kernel, tree: &mut Tree) {
    let base = format!("usr/lib/modules/{}", kernel.release);
    for (list, modules) in [("early", &kernel.early), ("late", &kernel.late), ("idle", &kernel.idle)] {
        tree.file(&format!("{base}/load.{list}"), 0o644, load_list(modules).into_bytes());
    }
    let all: Vec<&Module> =
        [&kernel.early, &kernel.late, &kernel.idle, &kernel.spare].into_iter().flatten().collect();
    for module in &all {
        tree.file(&format!("{base}/{}", module.path), 0o644, module.content.clone());
    }
    for (name, table) in [
        ("modules.dep", modules::dependency_table(&all)),
        ("modules.alias", modules::alias_table(&all)),
        ("modules.builtin", kernel.built_in.clone()),
    ] {
        tree.file(&format!("{base}/{name}"), 0o644, table.into_bytes());
    }
}

/// One path a line, in load order.
pub(crate) fn load_list(modules: &[Module]) -> String {
    modules.iter().map(|module| format!("{}\n", module.path)).collect()
}
