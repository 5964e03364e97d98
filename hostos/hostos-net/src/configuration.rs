//! The `.network` files of a machine, in the order in which they are tried.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::file::{LinkFacts, NetworkFile};
use crate::links::Link;

/// Where files are looked for; of two with the same name the later folder's counts.
const FOLDERS: &[&str] = &["/usr/lib/systemd/network", "/run/systemd/network", "/etc/systemd/network"];

/// Every file, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    files: Vec<NetworkFile>,
}

impl Configuration {
    /// That of this machine, and what is wrong with it in sentences.
    #[must_use]
    pub fn read() -> (Self, Vec<String>) {
        Self::below(&FOLDERS.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    /// That of these folders.
    #[must_use]
    pub fn below(folders: &[PathBuf]) -> (Self, Vec<String>) {
        let mut paths: BTreeMap<String, PathBuf> = BTreeMap::new();
        for folder in folders {
            paths.extend(list(folder, "network"));
        }
        let mut files = Vec::new();
        let mut warnings = Vec::new();
        for (name, path) in paths {
            let mut drop_ins: BTreeMap<String, PathBuf> = BTreeMap::new();
            for folder in folders {
                drop_ins.extend(list(&folder.join(format!("{name}.d")), "conf"));
            }
            let mut texts = Vec::new();
            for path in [path].iter().chain(drop_ins.values()) {
                match fs::read_to_string(path) {
                    Ok(text) => texts.push(text),
                    Err(error) => warnings.push(format!("{}: {error}", path.display())),
                }
            }
            // An empty file, or a link to /dev/null, takes away the one of a lesser folder.
            if texts.iter().all(|text| text.trim().is_empty()) {
                continue;
            }
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let (file, found) = NetworkFile::parse(&name, &texts);
            warnings.extend(found.into_iter().map(|warning| format!("{name}: {warning}")));
            files.push(file);
        }
        (Self { files }, warnings)
    }

    /// The first file that is for a link.
    #[must_use]
    pub fn find(&self, link: &Link) -> Option<&NetworkFile> {
        let facts = facts(link);
        self.files.iter().find(|file| file.matching.fits(&facts))
    }
}

fn list(folder: &Path, kind: &str) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == kind));
    paths.filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path))).collect()
}

fn facts(link: &Link) -> LinkFacts {
    let sys = Path::new("/sys/class/net").join(&link.name);
    let driver = fs::read_link(sys.join("device/driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())).unwrap_or_default();
    let kind = if link.name == "lo" { "loopback" } else { "ether" };
    LinkFacts { name: link.name.clone(), mac: link.mac.clone(), driver, kind: kind.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_that_fits_counts_and_later_folders_replace() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (usr, etc) = (dir.path().join("usr"), dir.path().join("etc"));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        write(usr.join("10-a.network"), "[Match]\nName=eth*\n[Network]\nDHCP=yes\n");
        write(usr.join("20-b.network"), "[Match]\nName=*\n[Network]\nDNS=1.1.1.1\n");
        let link = |name: &str| Link { name: name.into(), ..Link::default() };
        let folders = [usr, etc.clone()];
        let (configuration, warnings) = Configuration::below(&folders);
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(configuration.find(&link("eth0")).map(|file| file.name.as_str()), Some("10-a.network"));
        assert_eq!(configuration.find(&link("ens3")).map(|file| file.name.as_str()), Some("20-b.network"));
        write(etc.join("10-a.network"), "");
        write(etc.join("20-b.network.d/more.conf"), "[Network]\nNope=1\n");
        let (configuration, warnings) = Configuration::below(&folders);
        assert_eq!(configuration.find(&link("eth0")).map(|file| file.name.as_str()), Some("20-b.network"));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}
