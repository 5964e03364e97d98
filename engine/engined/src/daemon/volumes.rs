//! Volumes of the local driver: folders below the data root that outlive containers.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::durable::{self, Survive};
use super::names;
use crate::clock::{self, Nanos};

/// A volume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Volume {
    pub(crate) name: String,
    pub(crate) created: Nanos,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) options: Option<BTreeMap<String, String>>,
    /// Was given no name by the user.
    pub(crate) anonymous: bool,
}

impl Volume {
    pub(crate) fn json(&self, root: &Path) -> Value {
        json!({
            "CreatedAt": clock::rfc3339(self.created / 1_000_000_000 * 1_000_000_000),
            "Driver": "local",
            "Labels": self.labels,
            "Mountpoint": root.join(&self.name).join("_data"),
            "Name": self.name,
            "Options": self.options,
            "Scope": "local",
        })
    }
}

/// Why a volume could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("{0}")]
    Invalid(String),
    #[error("get {0}: no such volume")]
    Missing(String),
    #[error("could not write volume {name}")]
    Write {
        name: String,
        #[source]
        source: io::Error,
    },
}

/// All volumes.
pub(crate) struct Volumes {
    root: PathBuf,
    all: Mutex<BTreeMap<String, Volume>>,
}

impl Volumes {
    pub(crate) fn open(root: PathBuf) -> io::Result<Volumes> {
        fs::create_dir_all(&root)?;
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&root)? {
            let dir = entry?.path();
            match durable::read::<Volume>(&dir.join("volume.json")) {
                Ok(Some(volume)) => {
                    all.insert(volume.name.clone(), volume);
                }
                // Its creation was never answered.
                Ok(None) => fs::remove_dir_all(&dir)?,
                Err(error) => {
                    tracing::error!(path = %dir.display(), %error, "unreadable volume is left alone")
                }
            }
        }
        Ok(Volumes { root, all: Mutex::new(all) })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn get(&self, name: &str) -> Option<Volume> {
        self.all.lock().expect("no code panics holding it").get(name).cloned()
    }

    pub(crate) fn list(&self) -> Vec<Volume> {
        self.all.lock().expect("no code panics holding it").values().cloned().collect()
    }

    pub(crate) fn data_dir(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    /// Makes a volume, or finds the one of that name. True when it is new.
    pub(crate) fn create(&self, mut wanted: Volume) -> Result<(Volume, bool), VolumeError> {
        if wanted.name.is_empty() {
            wanted.name = names::new_id();
            wanted.anonymous = true;
        } else {
            super::mounts::check_volume_name(&wanted.name).map_err(VolumeError::Invalid)?;
        }
        check_options(&wanted)?;
        let mut all = self.all.lock().expect("no code panics holding it");
        if let Some(there) = all.get(&wanted.name) {
            return Ok((there.clone(), false));
        }
        wanted.created = clock::now();
        let dir = self.root.join(&wanted.name);
        let write = || {
            fs::create_dir_all(dir.join("_data"))?;
            durable::write(&dir.join("volume.json"), &wanted, Survive::PowerCut)
        };
        write().map_err(|source| VolumeError::Write { name: wanted.name.clone(), source })?;
        all.insert(wanted.name.clone(), wanted.clone());
        Ok((wanted, true))
    }

    /// Removes a volume and its data. Whether it is in use is the caller's to know.
    pub(crate) fn remove(&self, name: &str) -> Result<(), VolumeError> {
        let mut all = self.all.lock().expect("no code panics holding it");
        if all.remove(name).is_none() {
            return Err(VolumeError::Missing(name.to_owned()));
        }
        let dir = self.root.join(name);
        let wrong = |source| VolumeError::Write { name: name.to_owned(), source };
        // Without its description the rest is swept at the next start.
        fs::remove_file(dir.join("volume.json")).map_err(wrong)?;
        fs::remove_dir_all(&dir).map_err(wrong)
    }
}

/// The local driver's options: a tmpfs, or a folder of the host by another name.
fn check_options(volume: &Volume) -> Result<(), VolumeError> {
    let Some(options) = volume.options.as_ref().filter(|o| !o.is_empty()) else { return Ok(()) };
    for key in options.keys() {
        if !matches!(key.as_str(), "type" | "o" | "device" | "size") {
            return Err(VolumeError::Invalid(format!("create {}: invalid option: \"{key}\"", volume.name)));
        }
    }
    let mounted = ["type", "device", "o"].iter().any(|key| options.contains_key(*key));
    let missing = ["device", "type"].into_iter().find(|key| !options.contains_key(*key));
    if let Some(key) = missing.filter(|_| mounted) {
        let what = format!("create {}: missing required option: \"{key}\"", volume.name);
        return Err(VolumeError::Invalid(what));
    }
    // A limit that is not kept is worse than none.
    if let Some(size) = options.get("size") {
        return Err(VolumeError::Invalid(match engine_api::size::parse(size) {
            Some(_) => format!("create {}: quota size requested but no quota support", volume.name),
            None => format!("create {}: invalid size: '{size}'", volume.name),
        }));
    }
    Ok(())
}

/// What a volume's options ask to be mounted in place of its folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    Folder,
    /// A folder of the host, `type=none,o=bind,device=/path`.
    Bind(PathBuf),
    /// `type=tmpfs`, with mount options.
    Tmpfs(String),
    /// Something this engine does not mount.
    Other(String),
}

impl Volume {
    pub(crate) fn backing(&self) -> Backing {
        let Some(options) = self.options.as_ref().filter(|o| !o.is_empty()) else { return Backing::Folder };
        let get = |key: &str| options.get(key).map_or("", String::as_str);
        let is_bind = get("o").split(',').any(|o| matches!(o, "bind" | "rbind"));
        match get("type") {
            "tmpfs" => Backing::Tmpfs(get("o").to_owned()),
            "none" | "" if is_bind => Backing::Bind(get("device").into()),
            "" => Backing::Folder,
            other => Backing::Other(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Volume {
        Volume { name: name.into(), ..Volume::default() }
    }

    #[test]
    fn volumes_survive_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Volumes::open(dir.path().to_owned()).unwrap();
        let volumes = open();
        assert!(volumes.create(named("data")).unwrap().1);
        assert!(!volumes.create(named("data")).unwrap().1);
        let (anonymous, _) = volumes.create(named("")).unwrap();
        assert!(anonymous.anonymous && anonymous.name.len() == 64);
        fs::write(volumes.data_dir("data").join("f"), "x").unwrap();
        fs::create_dir(dir.path().join("half")).unwrap();
        let volumes = open();
        assert_eq!(volumes.list().len(), 2);
        assert!(!dir.path().join("half").exists());
        volumes.remove("data").unwrap();
        assert!(volumes.remove("data").is_err() && !dir.path().join("data").exists());
    }

    #[test]
    fn names_and_options_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(dir.path().to_owned()).unwrap();
        assert!(volumes.create(named("a/b")).is_err());
        assert!(volumes.create(named("..")).is_err());
        let mut v = named("vv");
        v.options = Some([("foo".to_owned(), "x".to_owned())].into());
        assert!(volumes.create(v.clone()).is_err());
        for options in [&[("type", "tmpfs")][..], &[("o", "bind")], &[("device", "/srv")], &[("size", "1g")]]
        {
            v.options = Some(options.iter().map(|(k, o)| ((*k).to_owned(), (*o).to_owned())).collect());
            assert!(volumes.create(v.clone()).is_err(), "{options:?}");
        }
        v.options = Some(
            [("type", "none"), ("o", "bind"), ("device", "/srv")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into(),
        );
        assert_eq!(volumes.create(v).unwrap().0.backing(), Backing::Bind("/srv".into()));
    }
}
