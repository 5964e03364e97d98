//! Fetches a Debian package with `apt-get download` and unpacks it with `dpkg-deb`, installing nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Why a package is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A tool of Debian's is missing.
    #[error("cannot run `{tool}`; a release is built on Debian or one of its children, with apt and dpkg")]
    Tool {
        /// Its name.
        tool: String,
        /// Why.
        source: io::Error,
    },
    /// apt does not know the package.
    #[error("apt knows no package `{name}`; run `apt-get update` and try again")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// The download failed.
    #[error(
        "apt-get could not download `{name}`: {reason}; is there a network, and is `apt-get update` recent?"
    )]
    Download {
        /// Its name.
        name: String,
        /// apt's own last words.
        reason: String,
    },
    /// The archive does not unpack.
    #[error("dpkg-deb could not unpack {}: {reason}", archive.display())]
    Unpack {
        /// The archive.
        archive: PathBuf,
        /// dpkg's own last words.
        reason: String,
    },
    /// The cache cannot be written.
    #[error("cannot write {}", path.display())]
    Cache {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A package of one exact version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// The package that the meta package `meta` stands for: its first dependency whose name starts with
/// `prefix`.
pub(crate) fn resolve(meta: &str, prefix: &str) -> Result<Package, PackageError> {
    let unknown = || PackageError::Unknown { name: meta.to_owned() };
    let shown = run(Command::new("apt-cache").args(["show", "--no-all-versions", meta]))?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let name = field(&text, "Depends").and_then(|depends| first_with(depends, prefix)).ok_or_else(unknown)?;
    candidate(&name)
}

/// The version of `name` that apt would install.
pub(crate) fn candidate(name: &str) -> Result<Package, PackageError> {
    let shown = run(Command::new("apt-cache").args(["show", "--no-all-versions", name]))?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let version = field(&text, "Version").ok_or_else(|| PackageError::Unknown { name: name.to_owned() })?;
    Ok(Package { name: name.to_owned(), version: version.to_owned() })
}

/// The directory below `cache` into which `package` is unpacked; fetched once, kept for ever.
pub(crate) fn unpacked(
    package: &Package,
    cache: &Path,
    progress: crate::Progress<'_>,
) -> Result<PathBuf, PackageError> {
    let dir = cache.join(format!("{}_{}", package.name, package.version.replace(':', "%3a")));
    if dir.is_dir() {
        return Ok(dir);
    }
    let write = |source| PackageError::Cache { path: cache.to_owned(), source };
    fs::create_dir_all(cache).map_err(write)?;
    let work = tempfile::Builder::new().prefix(".unpack-").tempdir_in(cache).map_err(write)?;
    progress(&format!("downloading {} {}", package.name, package.version));
    let archive = download(package, work.path())?;
    progress(&format!("unpacking {}", package.name));
    let content = work.path().join("content");
    let unpacked = run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&content))?;
    if !unpacked.status.success() {
        return Err(PackageError::Unpack { archive, reason: last_line(&unpacked.stderr) });
    }
    match fs::rename(&content, &dir) {
        // Another build was faster.
        Err(_) if dir.is_dir() => {}
        result => result.map_err(|source| PackageError::Cache { path: dir.clone(), source })?,
    }
    Ok(dir)
}

fn download(package: &Package, into: &Path) -> Result<PathBuf, PackageError> {
    let fail = |reason| PackageError::Download { name: package.name.clone(), reason };
    let wanted = format!("{}={}", package.name, package.version);
    let got = run(Command::new("apt-get")
        .args(["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::http::Timeout=30", "download", &wanted])
        .current_dir(into))?;
    if !got.status.success() {
        return Err(fail(last_line(&got.stderr)));
    }
    let mut found =
        fs::read_dir(into).map_err(|source| PackageError::Cache { path: into.to_owned(), source })?;
    found
        .find_map(|entry| {
            entry.ok().map(|entry| entry.path()).filter(|path| path.extension() == Some("deb".as_ref()))
        })
        .ok_or_else(|| fail("it left no archive behind".to_owned()))
}

fn run(command: &mut Command) -> Result<Output, PackageError> {
    let tool = command.get_program().to_string_lossy().into_owned();
    command.env("LC_ALL", "C").output().map_err(|source| PackageError::Tool { tool, source })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn first_with(depends: &str, prefix: &str) -> Option<String> {
    let names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    names.into_iter().find(|name| name.starts_with(prefix)).map(ToOwned::to_owned)
}

fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_package_is_read_out_of_the_meta_package() {
        let depends = "linux-base (>= 4), linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)";
        assert_eq!(first_with(depends, "linux-image-").as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(field("Package: a\nVersion: 6.1-2\n", "Version"), Some("6.1-2"));
    }
}
