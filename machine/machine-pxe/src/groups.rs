//! matchbox's groups and profiles, read from its folders as they are: `groups/*.json`,
//! `profiles/*.json`, `ignition/` and `generic/`.
//!
//! A group's selectors must all match; the group with the most selectors wins, and among equals the
//! one whose selectors come first as text.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::Mac;

/// A set of machines and what they boot.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// What its machines boot.
    pub profile: String,
    /// Which machines; none means all.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
    /// For templates and `/metadata`.
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
}

/// What to boot.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Profile {
    /// Its id.
    pub id: String,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Kernel and arguments; without it, the release's own.
    #[serde(default)]
    pub boot: Boot,
    /// A file in `ignition/`.
    #[serde(default)]
    pub ignition_id: String,
    /// A file in `generic/`.
    #[serde(default)]
    pub generic_id: String,
}

/// How to boot it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Boot {
    /// URL or path of the kernel.
    #[serde(default)]
    pub kernel: String,
    /// URLs or paths of initramfs images.
    #[serde(default)]
    pub initrd: Vec<String>,
    /// Kernel arguments.
    #[serde(default)]
    pub args: Vec<String>,
}

/// Labels of a machine, as firmware tells them in a query.
pub type Labels = BTreeMap<String, String>;

/// Everything in matchbox's folders.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    profiles: BTreeMap<String, Profile>,
    dir: PathBuf,
}

/// Why the folders cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// A file or folder.
    #[error("could not read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{} is no group or profile", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A group names what is not there.
    #[error("group `{group}` names the profile `{profile}`, which is not there")]
    NoProfile {
        /// Which group.
        group: String,
        /// The profile it names.
        profile: String,
    },
    /// A template that is missing or broken.
    #[error("{}: {reason}", path.display())]
    Template {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Groups {
    /// Reads the folders below `dir`.
    ///
    /// # Errors
    /// Something in them is unreadable, or a group names no profile.
    pub fn load(dir: &Path) -> Result<Self, GroupsError> {
        let mut groups: Vec<Group> = read_all(&dir.join("groups"))?;
        let profiles: Vec<Profile> = read_all(&dir.join("profiles"))?;
        let profiles: BTreeMap<String, Profile> =
            profiles.into_iter().map(|profile| (profile.id.clone(), profile)).collect();
        for group in &mut groups {
            if let Some(mac) = group.selector.get_mut("mac")
                && let Ok(parsed) = mac.parse::<Mac>()
            {
                *mac = parsed.to_string();
            }
            if !profiles.contains_key(&group.profile) {
                return Err(GroupsError::NoProfile {
                    group: group.id.clone(),
                    profile: group.profile.clone(),
                });
            }
        }
        groups.sort_by_key(|group| {
            let text: Vec<String> =
                group.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            (std::cmp::Reverse(group.selector.len()), text.join(","))
        });
        Ok(Self { groups, profiles, dir: dir.to_owned() })
    }

    /// The group that a machine is in, and what it boots.
    #[must_use]
    pub fn select(&self, labels: &Labels) -> Option<(&Group, &Profile)> {
        let group = self.groups.iter().find(|group| {
            group.selector.iter().all(|(key, value)| {
                labels.get(key).is_some_and(|label| {
                    if key == "mac" {
                        label.parse::<Mac>().is_ok_and(|mac| mac.to_string() == *value)
                    } else {
                        label == value
                    }
                })
            })
        })?;
        Some((group, self.profiles.get(&group.profile)?))
    }

    /// Whether a group names this machine by its hardware address or identity: that is an approval.
    #[must_use]
    pub fn names(&self, labels: &Labels) -> bool {
        self.select(labels)
            .is_some_and(|(group, _)| ["mac", "uuid"].iter().any(|key| group.selector.contains_key(*key)))
    }

    /// A template of a folder, filled with a group's metadata and the machine's labels.
    ///
    /// # Errors
    /// It is not there, does not parse, or asks for what the metadata do not have.
    pub fn fill(
        &self,
        folder: &str,
        id: &str,
        group: &Group,
        labels: &Labels,
    ) -> Result<String, GroupsError> {
        let path = self.dir.join(folder).join(id);
        let broken = |reason: String| GroupsError::Template { path: path.clone(), reason };
        if id.contains("..") || id.starts_with('/') {
            return Err(broken("it lies outside of the folder".into()));
        }
        let text = fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?;
        let mut data = serde_json::Map::new();
        data.extend(group.metadata.clone());
        data.extend(labels.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))));
        data.insert("request".into(), serde_json::json!({ "query": labels }));
        let template = go_template::Template::parse(&text).map_err(|error| broken(error.to_string()))?;
        template
            .fill(&Value::Object(data), go_template::Missing::Error)
            .map_err(|error| broken(error.to_string()))
    }
}

fn read_all<T: serde::de::DeserializeOwned>(dir: &Path) -> Result<Vec<T>, GroupsError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| GroupsError::Read { path, source }
    };
    let mut paths = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(dir)(error)),
    };
    for entry in entries {
        let path = entry.map_err(read(dir))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).map_err(read(&path))?;
            serde_json::from_slice(&bytes).map_err(|source| GroupsError::Parse { path, source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, path: &str, text: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("written");
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_group_with_most_selectors_wins_and_templates_are_filled() {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "groups/default.json", r#"{"id":"default","profile":"plain"}"#);
        write(
            dir.path(),
            "groups/one.json",
            r#"{"id":"one","profile":"kv","selector":{"mac":"52-54-00-A1-9C-AE"},"metadata":{"role":"kv"}}"#,
        );
        write(
            dir.path(),
            "profiles/plain.json",
            r#"{"id":"plain","boot":{"kernel":"/assets/k","args":["a"]}}"#,
        );
        write(dir.path(), "profiles/kv.json", r#"{"id":"kv","ignition_id":"kv.ign"}"#);
        write(dir.path(), "ignition/kv.ign", r#"{"role":"{{.role}}","mac":"{{.request.query.mac}}"}"#);
        let groups = Groups::load(dir.path()).expect("loads");
        let other = labels(&[("mac", "52:54:00:00:00:01")]);
        assert_eq!(groups.select(&other).expect("all").1.boot.args, ["a"]);
        assert!(!groups.names(&other));
        let one = labels(&[("mac", "52:54:00:a1:9c:ae")]);
        let (group, profile) = groups.select(&one).expect("named");
        assert_eq!(profile.id, "kv");
        assert!(groups.names(&one));
        let filled = groups.fill("ignition", &profile.ignition_id, group, &one).expect("filled");
        assert_eq!(filled, r#"{"role":"kv","mac":"52:54:00:a1:9c:ae"}"#);
        assert!(groups.fill("ignition", "../groups/one.json", group, &one).is_err());
    }

    #[test]
    fn a_group_without_its_profile_is_told_of() {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), "groups/a.json", r#"{"id":"a","profile":"gone"}"#);
        let error = Groups::load(dir.path()).expect_err("no profile").to_string();
        assert!(error.contains("`gone`"), "{error}");
    }
}
