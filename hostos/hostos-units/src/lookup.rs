//! Where the text of a unit comes from: fragment, drop-ins, links, masks, aliases, templates.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use unit_file::UnitName;

use crate::options::Options;

/// What there is for a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    /// Nothing.
    Missing,
    /// A link to /dev/null, or an empty file.
    Masked(PathBuf),
    /// A link to another unit's file: the name is an alias.
    Alias(UnitName),
    /// A file.
    File(PathBuf),
    /// One that every machine has, without a file.
    Builtin(&'static str),
}

/// The fragment of a unit.
pub(crate) fn fragment(options: &Options, name: &UnitName) -> Fragment {
    let template = name.template();
    for candidate in [Some(name), template.as_ref()].into_iter().flatten() {
        for dir in &options.unit_dirs {
            match look_at(&dir.join(candidate.as_str()), candidate, name) {
                Fragment::Missing => {}
                found => return found,
            }
        }
    }
    crate::builtin::text(name.as_str()).map_or(Fragment::Missing, Fragment::Builtin)
}

fn look_at(path: &Path, candidate: &UnitName, wanted: &UnitName) -> Fragment {
    let Ok(meta) = fs::symlink_metadata(path) else { return Fragment::Missing };
    if meta.is_symlink() {
        let Ok(target) = fs::read_link(path) else { return Fragment::Missing };
        if target == Path::new("/dev/null") {
            return Fragment::Masked(path.to_owned());
        }
        let target_name =
            target.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<UnitName>().ok());
        match target_name {
            Some(other) if other != *candidate && other.kind() == wanted.kind() => {
                let other = wanted.instance().map_or_else(|| other.clone(), |i| other.instantiate(i));
                if other != *wanted {
                    return Fragment::Alias(other);
                }
            }
            _ => {}
        }
    }
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() == 0 => Fragment::Masked(path.to_owned()),
        Ok(meta) if meta.is_file() => Fragment::File(path.to_owned()),
        _ => Fragment::Missing,
    }
}

/// Drop-ins in the order in which to apply them.
pub(crate) fn drop_ins(options: &Options, name: &UnitName) -> Vec<PathBuf> {
    let mut by_file_name: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in drop_in_folders(name) {
        for dir in &options.unit_dirs {
            let Ok(entries) = fs::read_dir(dir.join(format!("{folder}.d"))) else { continue };
            for entry in entries.flatten() {
                let file = entry.file_name().to_string_lossy().into_owned();
                if file.ends_with(".conf") && !file.starts_with('.') {
                    by_file_name.entry(file).or_insert_with(|| entry.path());
                }
            }
        }
    }
    let masked = |path: &PathBuf| fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
    by_file_name.into_values().filter(|path| !masked(path)).collect()
}

/// Most particular first: `a-b@c.service`, `a-b@.service`, `a-.service`, `service`.
fn drop_in_folders(name: &UnitName) -> Vec<String> {
    let kind = name.kind().suffix();
    let mut folders = vec![name.as_str().to_owned()];
    folders.extend(name.template().map(|template| template.as_str().to_owned()));
    let mut prefix = name.prefix();
    while let Some((shorter, _)) = prefix.trim_end_matches('-').rsplit_once('-') {
        if shorter.is_empty() {
            break;
        }
        folders.push(format!("{shorter}-.{kind}"));
        prefix = shorter;
    }
    folders.push(kind.to_owned());
    folders
}

/// Names in `NAME.wants/` (or another such folder) of all unit folders.
pub(crate) fn links(options: &Options, name: &UnitName, suffix: &str) -> Vec<UnitName> {
    let mut found = Vec::new();
    for owner in [Some(name.clone()), name.template()].into_iter().flatten() {
        for dir in &options.unit_dirs {
            let Ok(entries) = fs::read_dir(dir.join(format!("{owner}.{suffix}"))) else { continue };
            for entry in entries.flatten() {
                let Some(target) = entry.file_name().to_str().and_then(|n| n.parse::<UnitName>().ok()) else {
                    continue;
                };
                let target = name.instance().map_or_else(|| target.clone(), |i| target.instantiate(i));
                if !target.is_template() && !found.contains(&target) {
                    found.push(target);
                }
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn fragments_links_and_drop_ins() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (high, low) = (dir.path().join("high"), dir.path().join("low"));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().expect("has one")).expect("dir");
            fs::write(path, text).expect("write");
        };
        write(low.join("a.service"), "low");
        write(high.join("a.service"), "high");
        write(low.join("t@.service"), "t");
        write(high.join("empty.service"), "");
        write(low.join("a.service.d/10.conf"), "x");
        write(high.join("a.service.d/10.conf"), "y");
        write(low.join("service.d/05.conf"), "z");
        symlink("a.service", low.join("b.service")).expect("link");
        symlink("/dev/null", high.join("m.service")).expect("link");
        fs::create_dir_all(low.join("x.target.wants")).expect("dir");
        symlink("../t@.service", low.join("x.target.wants/t@1.service")).expect("link");
        let options = Options { unit_dirs: vec![high.clone(), low.clone()], ..Options::below(dir.path()) };
        let name = |text: &str| text.parse::<UnitName>().expect("valid");
        let find = |text: &str| fragment(&options, &name(text));
        assert_eq!(find("a.service"), Fragment::File(high.join("a.service")));
        assert_eq!(find("b.service"), Fragment::Alias(name("a.service")));
        assert_eq!(find("t@1.service"), Fragment::File(low.join("t@.service")));
        assert_eq!(find("m.service"), Fragment::Masked(high.join("m.service")));
        assert_eq!(find("empty.service"), Fragment::Masked(high.join("empty.service")));
        assert_eq!(find("none.service"), Fragment::Missing);
        assert!(matches!(find("multi-user.target"), Fragment::Builtin(_)));
        assert_eq!(
            drop_ins(&options, &name("a.service")),
            [low.join("service.d/05.conf"), high.join("a.service.d/10.conf")]
        );
        assert_eq!(links(&options, &name("x.target"), "wants"), [name("t@1.service")]);
        assert_eq!(
            drop_in_folders(&name("a-b-c@i.service")),
            ["a-b-c@i.service", "a-b-c@.service", "a-b-.service", "a-.service", "service"]
        );
    }
}
