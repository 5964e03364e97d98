//! `[Install]`: making and removing links, masks, and the words for their state; presets.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use unit_file::{Specifiers, UnitFile, UnitName};
use units_api::{ErrorKind, UnitFileState, WireError};

use crate::config::Section;
use crate::config::general::InstallConfig;
use crate::lookup::{self, Fragment};
use crate::options::Options;

fn failed(what: String) -> impl FnOnce(io::Error) -> WireError {
    move |error| WireError { kind: ErrorKind::Io, message: format!("{what}: {error}") }
}

fn dir(options: &Options, runtime: bool) -> &Path {
    if runtime { &options.transient_dir } else { &options.persistent_dir }
}

/// The `[Install]` section of a unit (or of its template), and the path of its file.
fn install_of(options: &Options, name: &UnitName) -> Result<(InstallConfig, PathBuf), WireError> {
    let path = match lookup::fragment(options, name) {
        Fragment::File(path) => path,
        Fragment::Masked(path) => {
            let message = format!("Failed to enable unit: Unit file {} is masked.", path.display());
            return Err(WireError { kind: ErrorKind::Masked, message });
        }
        Fragment::Alias(other) => return install_of(options, &other),
        Fragment::Builtin(_) | Fragment::Missing => {
            let message = format!("Failed to enable unit: Unit file {name} does not exist.");
            return Err(WireError { kind: ErrorKind::NotFound, message });
        }
    };
    let mut text = UnitFile::default();
    for file in std::iter::once(&path).chain(&lookup::drop_ins(options, name)) {
        let content =
            fs::read_to_string(file).map_err(failed(format!("could not read {}", file.display())))?;
        text.merge(UnitFile::parse(&content).map_err(|error| WireError {
            kind: ErrorKind::BadUnit,
            message: format!("{}: {error}", file.display()),
        })?);
    }
    let host = Specifiers::default();
    let config = InstallConfig::parse(&Section::new(&text, "Install", name, &host));
    Ok((config, path))
}

/// The links that enabling makes: where, and to what.
fn links(base: &Path, name: &UnitName, config: &InstallConfig, path: &Path) -> Vec<(PathBuf, PathBuf)> {
    let name = match (&config.default_instance, name.is_template()) {
        (Some(instance), true) => name.instantiate(instance),
        _ => name.clone(),
    };
    let mut found = Vec::new();
    for alias in &config.alias {
        found.push((base.join(alias), path.to_owned()));
    }
    for (targets, suffix) in [(&config.wanted_by, "wants"), (&config.required_by, "requires")] {
        for target in targets {
            found.push((base.join(format!("{target}.{suffix}")).join(name.as_str()), path.to_owned()));
        }
    }
    found
}

/// Makes the links.
pub(crate) fn enable(options: &Options, names: &[UnitName], runtime: bool) -> Result<Vec<String>, WireError> {
    let mut changes = Vec::new();
    let mut queue: Vec<UnitName> = names.to_vec();
    let mut seen = Vec::new();
    while let Some(name) = queue.pop() {
        if seen.contains(&name) {
            continue;
        }
        let (config, path) = install_of(options, &name)?;
        queue.extend(config.also.iter().filter_map(|also| also.parse().ok()));
        if config.is_empty() {
            changes.push(format!("Unit {name} has no installation config (WantedBy=, RequiredBy=, Also=, Alias=); it is started by others or by hand."));
        }
        for (link, target) in links(dir(options, runtime), &name, &config, &path) {
            if fs::read_link(&link).is_ok_and(|known| known == target) {
                continue;
            }
            let what = format!("could not make link {}", link.display());
            if let Some(parent) = link.parent() {
                fs::create_dir_all(parent).map_err(failed(what.clone()))?;
            }
            let _ = fs::remove_file(&link);
            symlink(&target, &link).map_err(failed(what))?;
            changes.push(format!("Created symlink {} \u{2192} {}.", link.display(), target.display()));
        }
        seen.push(name);
    }
    Ok(changes)
}

/// Removes all links to the units.
pub(crate) fn disable(
    options: &Options,
    names: &[UnitName],
    runtime: bool,
) -> Result<Vec<String>, WireError> {
    let mut all = names.to_vec();
    for name in names {
        if let Ok((config, _)) = install_of(options, name) {
            all.extend(config.also.iter().filter_map(|also| also.parse::<UnitName>().ok()));
        }
    }
    let mut changes = Vec::new();
    let base = dir(options, runtime);
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        let file = entry.file_name().to_string_lossy().into_owned();
        if [".wants", ".requires", ".upholds"].iter().any(|suffix| file.ends_with(suffix)) {
            for name in &all {
                remove_link(&path.join(name.as_str()), &mut changes)?;
            }
            let _ = fs::remove_dir(&path);
        } else if path.is_symlink() {
            let target = fs::read_link(&path)
                .ok()
                .and_then(|target| target.file_name().map(std::ffi::OsStr::to_owned));
            let alias_of = |name: &UnitName| target.as_deref() == Some(std::ffi::OsStr::new(name.as_str()));
            if all.iter().any(|name| alias_of(name) && file != name.as_str()) {
                remove_link(&path, &mut changes)?;
            }
        }
    }
    Ok(changes)
}

fn remove_link(path: &Path, changes: &mut Vec<String>) -> Result<(), WireError> {
    if path.is_symlink() {
        fs::remove_file(path).map_err(failed(format!("could not remove {}", path.display())))?;
        changes.push(format!("Removed \"{}\".", path.display()));
    }
    Ok(())
}

/// Links the units to /dev/null.
pub(crate) fn mask(options: &Options, names: &[UnitName], runtime: bool) -> Result<Vec<String>, WireError> {
    let mut changes = Vec::new();
    for name in names {
        let link = dir(options, runtime).join(name.as_str());
        let what = format!("Failed to mask unit: File {}", link.display());
        if link.exists() && !link.is_symlink() {
            return Err(WireError { kind: ErrorKind::Io, message: format!("{what} already exists.") });
        }
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent).map_err(failed(what.clone()))?;
        }
        let _ = fs::remove_file(&link);
        symlink("/dev/null", &link).map_err(failed(what))?;
        changes.push(format!("Created symlink {} \u{2192} /dev/null.", link.display()));
    }
    Ok(changes)
}

/// Undoes [`mask`].
pub(crate) fn unmask(options: &Options, names: &[UnitName], runtime: bool) -> Result<Vec<String>, WireError> {
    let mut changes = Vec::new();
    for name in names {
        let link = dir(options, runtime).join(name.as_str());
        if fs::read_link(&link).is_ok_and(|target| target == Path::new("/dev/null")) {
            remove_link(&link, &mut changes)?;
        }
    }
    Ok(changes)
}

/// `enabled`, `static` and so on.
pub(crate) fn state(options: &Options, name: &UnitName, path: &Path, config: &InstallConfig) -> String {
    if path.starts_with(&options.transient_dir) && config.is_empty() {
        return "static".into();
    }
    for (base, word) in [(&options.persistent_dir, "enabled"), (&options.transient_dir, "enabled-runtime")] {
        let made = links(base, name, config, path).into_iter().any(|(link, _)| link.is_symlink());
        if made || linked_anywhere(base, name) {
            return word.into();
        }
    }
    if config.wanted_by.is_empty() && config.required_by.is_empty() && config.alias.is_empty() {
        return if config.also.is_empty() { "static" } else { "indirect" }.into();
    }
    "disabled".into()
}

fn linked_anywhere(base: &Path, name: &UnitName) -> bool {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let file = entry.file_name().to_string_lossy().into_owned();
            file.ends_with(".wants") || file.ends_with(".requires")
        })
        .any(|entry| entry.path().join(name.as_str()).is_symlink())
}

/// All unit files on disk.
pub(crate) fn list(options: &Options) -> Vec<UnitFileState> {
    let mut names: std::collections::BTreeSet<UnitName> = std::collections::BTreeSet::new();
    for base in &options.unit_dirs {
        let entries = fs::read_dir(base).into_iter().flatten().flatten();
        names.extend(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()));
    }
    let describe = |name: UnitName| {
        let state = match lookup::fragment(options, &name) {
            Fragment::Masked(path) if path.starts_with(&options.transient_dir) => "masked-runtime".into(),
            Fragment::Masked(_) => "masked".into(),
            Fragment::Alias(_) => "alias".into(),
            Fragment::File(_) => match install_of(options, &name) {
                Ok((config, path)) => state(options, &name, &path, &config),
                Err(_) => "bad".into(),
            },
            Fragment::Builtin(_) | Fragment::Missing => return None,
        };
        let preset = match preset(options, &name) {
            Some(true) => "enabled",
            Some(false) => "disabled",
            None => "",
        };
        Some(UnitFileState { name: name.to_string(), state, preset: preset.into() })
    };
    names.into_iter().filter_map(describe).collect()
}

/// What the preset files say of a unit; nothing if they say nothing.
pub(crate) fn preset(options: &Options, name: &UnitName) -> Option<bool> {
    let mut files: std::collections::BTreeMap<String, PathBuf> = std::collections::BTreeMap::new();
    for base in &options.preset_dirs {
        for entry in fs::read_dir(base).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            if file.ends_with(".preset") {
                files.entry(file).or_insert_with(|| entry.path());
            }
        }
    }
    for path in files.values() {
        let text = fs::read_to_string(path).unwrap_or_default();
        for line in
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
        {
            let mut words = line.split_ascii_whitespace();
            let (verb, pattern) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            if crate::glob::matches(pattern, name.as_str()) {
                match verb {
                    "enable" => return Some(true),
                    "disable" => return Some(false),
                    _ => {}
                }
            }
        }
    }
    None
}

/// Enables what the presets enable, as on the first boot of a machine. Returns what was changed;
/// units that cannot be enabled are left out.
pub fn apply_presets(options: &Options) -> Vec<String> {
    let mut changes = Vec::new();
    for file in list(options) {
        let Ok(name) = file.name.parse::<UnitName>() else { continue };
        let change = match (preset(options, &name), file.state.as_str()) {
            (Some(true), "disabled" | "indirect") => enable(options, &[name], false),
            (Some(false), "enabled") => disable(options, &[name], false),
            _ => continue,
        };
        changes.extend(change.unwrap_or_default());
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enable_disable_mask_and_presets() {
        let temp = tempfile::tempdir().expect("temp dir");
        let options = Options::below(temp.path());
        let units = temp.path().join("units");
        fs::create_dir_all(&units).expect("dir");
        fs::create_dir_all(temp.path().join("presets")).expect("dir");
        fs::write(
            units.join("a.service"),
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlias=b.service\n",
        )
        .expect("write");
        fs::write(units.join("s.service"), "[Service]\nExecStart=/bin/true\n").expect("write");
        let name: UnitName = "a.service".parse().expect("valid");
        let state_of =
            |wanted: &str| list(&options).into_iter().find(|file| file.name == wanted).map(|file| file.state);
        assert_eq!(state_of("a.service").as_deref(), Some("disabled"));
        assert_eq!(state_of("s.service").as_deref(), Some("static"));
        assert_eq!(enable(&options, std::slice::from_ref(&name), false).expect("links").len(), 2);
        assert!(units.join("multi-user.target.wants/a.service").is_symlink());
        assert_eq!(state_of("a.service").as_deref(), Some("enabled"));
        assert_eq!(state_of("b.service").as_deref(), Some("alias"));
        assert_eq!(disable(&options, std::slice::from_ref(&name), false).expect("links").len(), 2);
        assert_eq!(state_of("a.service").as_deref(), Some("disabled"));
        fs::write(temp.path().join("presets/20-x.preset"), "# c\nenable a.*\ndisable *\n").expect("write");
        assert_eq!(apply_presets(&options).len(), 2);
        assert_eq!(state_of("a.service").as_deref(), Some("enabled"));
        mask(&options, &["m.service".parse().expect("valid")], false).expect("mask");
        assert_eq!(state_of("m.service").as_deref(), Some("masked"));
        unmask(&options, &["m.service".parse().expect("valid")], false).expect("unmask");
        assert_eq!(state_of("m.service"), None);
    }
}
