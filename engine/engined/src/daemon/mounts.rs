//! What a container gets mounted: `-v`, `--mount`, `--tmpfs`, `--volumes-from` and the image's `VOLUME`s.
//!
//! Plans only; nothing is made or mounted here.

use std::collections::BTreeSet;

use engine_api::host_config::{HostConfig, Mount};

use super::container::Mounted;
use super::names;

/// A mount that wants a volume made: its labels and options are in the request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Planned {
    pub(crate) mount: Mounted,
    pub(crate) labels: Option<std::collections::BTreeMap<String, String>>,
    pub(crate) options: Option<std::collections::BTreeMap<String, String>>,
}

/// Mounts in the order in which Docker decides; later ones must not be at the place of an earlier one.
pub(crate) fn plan<'a>(
    host: &HostConfig,
    declared: impl Iterator<Item = &'a String>,
    inherited: Vec<Mounted>,
) -> Result<Vec<Planned>, String> {
    let mut planned: Vec<Planned> =
        inherited.into_iter().map(|mount| Planned { mount, ..Planned::default() }).collect();
    let mut own = BTreeSet::new();
    let mut add = |planned: &mut Vec<Planned>, new: Planned| {
        if !own.insert(new.mount.target.clone()) {
            return Err(format!("Duplicate mount point: {}", new.mount.target));
        }
        planned.retain(|p| p.mount.target != new.mount.target);
        planned.push(new);
        Ok(())
    };
    for bind in host.binds.iter().flatten() {
        add(&mut planned, Planned { mount: parse_bind(bind)?, ..Planned::default() })?;
    }
    for mount in host.mounts.iter().flatten() {
        add(&mut planned, from_mount(mount)?)?;
    }
    for (target, data) in host.tmpfs.iter().flatten() {
        let mount = Mounted {
            kind: "tmpfs".into(),
            target: clean_target(target)?,
            rw: true,
            data: tmpfs_data(data)?,
            flags: tmpfs_flags(data),
            hidden: true,
            ..Mounted::default()
        };
        add(&mut planned, Planned { mount, ..Planned::default() })?;
    }
    for target in declared {
        let target = clean_target(target).map_err(|what| {
            format!("{}: invalid mount config for type \"volume\": {what}", invalid(target))
        })?;
        if !planned.iter().any(|p| p.mount.target == target) {
            let mount =
                Mounted { kind: "volume".into(), target, rw: true, anonymous: true, ..Mounted::default() };
            planned.push(Planned { mount, ..Planned::default() });
        }
    }
    Ok(planned)
}

fn invalid(spec: &str) -> String {
    format!("invalid volume specification: '{spec}'")
}

/// `source:target[:options]`, `target`; a source that is no path is a volume's name.
pub(crate) fn parse_bind(spec: &str) -> Result<Mounted, String> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(invalid(spec)),
    };
    if target.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(invalid(spec));
    }
    let mut mount = Mounted {
        target: bind_target(source, target, spec)?,
        mode: mode.into(),
        rw: true,
        ..Mounted::default()
    };
    check_mode(mode)?;
    check_kind(mode, source.starts_with('/')).map_err(|what| format!("{}: {what}", invalid(spec)))?;
    if source.starts_with('/') {
        mount.kind = "bind".into();
        mount.source = clean(source).into();
        mount.propagation = "rprivate".into();
        mount.create_source = true;
    } else {
        mount.kind = "volume".into();
        mount.anonymous = source.is_empty();
        if !source.is_empty() {
            check_volume_name(source)?;
        }
        mount.name = source.into();
        if mode.is_empty() && !source.is_empty() {
            mount.mode = "z".into();
        }
    }
    apply_mode(&mut mount, mode);
    Ok(mount)
}

/// What a volume of the local driver may be called.
pub(crate) fn check_volume_name(name: &str) -> Result<(), String> {
    // Of one letter it may be, unless it is asked for by itself.
    let one_letter = name.len() == 1 && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if !one_letter && !names::is_valid(name) {
        return Err(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        ));
    }
    Ok(())
}

const PROPAGATIONS: [&str; 6] = ["shared", "rshared", "slave", "rslave", "private", "rprivate"];

/// Whether it is a mode at all.
fn check_mode(mode: &str) -> Result<(), String> {
    let known = |option: &str| match option {
        "" | "ro" | "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" | "nocopy" => true,
        other => PROPAGATIONS.contains(&other),
    };
    let kinds: [&[&str]; 4] =
        [&["ro", "rw"], &["z", "Z"], &["consistent", "cached", "delegated"], &PROPAGATIONS];
    let once = |kind: &&[&str]| mode.split(',').filter(|o| kind.contains(o)).count() <= 1;
    if mode.split(',').all(known) && kinds.iter().all(once) {
        return Ok(());
    }
    Err(format!("invalid mode: {mode}"))
}

/// Folders of the host are not copied to, and volumes propagate nothing.
fn check_kind(mode: &str, is_bind: bool) -> Result<(), String> {
    let has = |wanted: &[&str]| mode.split(',').any(|option| wanted.contains(&option));
    let (kind, field) = match is_bind {
        true if has(&["nocopy"]) => ("bind", "VolumeOptions"),
        false if has(&PROPAGATIONS) => ("volume", "BindOptions"),
        _ => return Ok(()),
    };
    Err(format!("invalid mount config for type \"{kind}\": field {field} must not be specified"))
}

fn apply_mode(mount: &mut Mounted, mode: &str) {
    for option in mode.split(',') {
        match option {
            "ro" => {
                mount.rw = false;
                mount.readonly_below = mount.kind == "bind";
            }
            "nocopy" => mount.no_copy = true,
            option if PROPAGATIONS.contains(&option) => mount.propagation = option.into(),
            _ => {}
        }
    }
}

/// `ro` or `rw` after `--volumes-from NAME:`.
pub(crate) fn split_volumes_from(spec: &str) -> Result<(&str, bool), String> {
    if spec.is_empty() {
        return Err("volumes-from specification cannot be an empty string".into());
    }
    match spec.split_once(':') {
        None => Ok((spec, true)),
        Some((name, mode)) => match mode {
            "ro" => Ok((name, false)),
            "rw" | "z" | "Z" => Ok((name, true)),
            _ => Err(format!("invalid mode: {mode}")),
        },
    }
}

fn from_mount(mount: &Mount) -> Result<Planned, String> {
    let wrong = |what: &str| format!("invalid mount config for type \"{}\": {what}", mount.kind);
    if mount.target.is_empty() {
        return Err(wrong("field Target must not be empty"));
    }
    for (options, kind, field) in [
        (mount.bind_options.is_some(), "bind", "BindOptions"),
        (mount.volume_options.is_some(), "volume", "VolumeOptions"),
        (mount.tmpfs_options.is_some(), "tmpfs", "TmpfsOptions"),
    ] {
        if options && mount.kind != kind && matches!(mount.kind.as_str(), "bind" | "volume" | "tmpfs") {
            return Err(wrong(&format!("field {field} must not be specified")));
        }
    }
    let mut out = Mounted {
        kind: mount.kind.clone(),
        target: clean_target(&mount.target).map_err(|what| wrong(&what))?,
        rw: !mount.read_only,
        ..Mounted::default()
    };
    let mut planned = Planned::default();
    match mount.kind.as_str() {
        "bind" => from_bind_mount(mount, &mut out).map_err(|what| wrong(&what))?,
        "volume" => {
            out.mode = "z".into();
            out.name.clone_from(&mount.source);
            out.anonymous = mount.source.is_empty();
            if out.anonymous && mount.read_only {
                return Err(wrong("must not set ReadOnly mode when using anonymous volumes"));
            }
            if let Some(options) = &mount.volume_options {
                out.no_copy = options.no_copy;
                if !is_local(&options.subpath) {
                    return Err(wrong("subpath must be a relative path within the volume"));
                }
                out.subpath.clone_from(&options.subpath);
                planned.labels = Some(options.labels.clone()).filter(|l| !l.is_empty());
                let driver = options.driver_config.clone().unwrap_or_default();
                if !matches!(driver.name.as_str(), "" | "local") {
                    return Err(format!(
                        "error looking up volume plugin {}: plugin \"{0}\" not found",
                        driver.name
                    ));
                }
                planned.options = Some(driver.options).filter(|o| !o.is_empty());
            }
        }
        "tmpfs" => {
            if !mount.source.is_empty() {
                return Err(wrong("field Source must not be specified"));
            }
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            let mut data = Vec::new();
            if options.size_bytes > 0 {
                data.push(format!("size={}", options.size_bytes));
            }
            if options.mode != 0 {
                data.push(format!("mode={:o}", options.mode));
            }
            out.data = data.join(",");
        }
        _ => return Err(wrong("mount type unknown")),
    }
    planned.mount = out;
    Ok(planned)
}

fn from_bind_mount(mount: &Mount, out: &mut Mounted) -> Result<(), String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".into());
    }
    if !mount.source.starts_with('/') {
        return Err(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    if !options.propagation.is_empty() && !PROPAGATIONS.contains(&options.propagation.as_str()) {
        return Err(format!("invalid propagation mode: {}", options.propagation));
    }
    if !options.create_mountpoint && !std::path::Path::new(&mount.source).exists() {
        return Err(format!("bind source path does not exist: {}", mount.source));
    }
    out.create_source = options.create_mountpoint;
    out.readonly_below = mount.read_only && !options.non_recursive && !options.read_only_non_recursive;
    if options.read_only_force_recursive && !out.readonly_below {
        return Err("ReadOnlyForceRecursive requires ReadOnly, and recursive mounts".into());
    }
    out.source = clean(&mount.source).into();
    out.non_recursive = options.non_recursive;
    out.propagation = if options.propagation.is_empty() { "rprivate".into() } else { options.propagation };
    Ok(())
}

/// A path that stays where it begins, as far as its text tells.
fn is_local(path: &str) -> bool {
    let mut depth = 0i32;
    for part in path.split('/') {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        if depth < 0 {
            return false;
        }
    }
    !path.starts_with('/')
}

/// Mounts of the daemon's own folders, or of what they lie in, see what is mounted there later.
pub(crate) fn watch_root(
    planned: &mut [Planned],
    host: &HostConfig,
    root: &std::path::Path,
) -> Result<(), String> {
    for Planned { mount, .. } in planned.iter_mut().filter(|p| p.mount.kind == "bind") {
        let related = mount.source.starts_with(root) || root.starts_with(&mount.source);
        if !related || matches!(mount.propagation.as_str(), "rslave" | "rshared") {
            continue;
        }
        let by_mount = host.mounts.iter().flatten().any(|m| {
            m.kind == "bind"
                && clean(&m.target) == mount.target
                && m.bind_options.as_ref().is_some_and(|o| !o.propagation.is_empty())
        });
        if by_mount || mount.mode.split(',').any(|word| PROPAGATIONS.contains(&word)) {
            return Err(format!(
                "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is within the daemon root, daemon root: {:?}, bind mount source: {:?}, propagation: {:?}",
                root.display().to_string(),
                mount.source.display().to_string(),
                mount.propagation
            ));
        }
        mount.propagation = "rslave".into();
    }
    Ok(())
}

fn bind_target(source: &str, target: &str, spec: &str) -> Result<String, String> {
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    clean_target(target)
        .map_err(|what| format!("{}: invalid mount config for type \"{kind}\": {what}", invalid(spec)))
}

fn clean_target(target: &str) -> Result<String, String> {
    if !target.starts_with('/') {
        return Err(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    match clean(target).as_str() {
        "/" => Err("invalid specification: destination can't be '/'".into()),
        path => Ok(path.to_owned()),
    }
}

/// An absolute path without `.`, `..` and doubled slashes.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The last of two that contradict each other counts.
fn tmpfs_flags(options: &str) -> Vec<String> {
    const PAIRS: [(&str, &str); 4] = [("exec", "noexec"), ("suid", "nosuid"), ("dev", "nodev"), ("ro", "rw")];
    let last = |pair: (&str, &str)| options.split(',').rfind(|o| *o == pair.0 || *o == pair.1);
    PAIRS.into_iter().filter(|pair| last(*pair) == Some(pair.0)).map(|pair| pair.0.to_owned()).collect()
}

/// Options of `--tmpfs` that go to the file system; flags of the mount go another way.
fn tmpfs_data(options: &str) -> Result<String, String> {
    let mut data = Vec::new();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option.split_once('=').map_or(option, |(key, _)| key) {
            "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" => data.push(option),
            "rw" | "ro" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" | "sync" | "async"
            | "dirsync" | "remount" | "mand" | "nomand" | "atime" | "noatime" | "diratime" | "nodiratime"
            | "bind" | "rbind" | "unbindable" | "runbindable" | "private" | "rprivate" | "shared"
            | "rshared" | "slave" | "rslave" | "relatime" | "norelatime" | "strictatime"
            | "nostrictatime" | "mpol" | "defaults" => {}
            _ => return Err(format!("invalid tmpfs option [{option:?}]")),
        }
    }
    Ok(data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn binds() {
        let m = parse_bind("/a/../b:/c/:ro,rslave").unwrap();
        assert_eq!((m.kind.as_str(), m.source.to_str(), m.target.as_str()), ("bind", Some("/b"), "/c"));
        assert!(!m.rw && m.propagation == "rslave" && m.mode == "ro,rslave");
        let m = parse_bind("data:/d:nocopy").unwrap();
        assert!(m.kind == "volume" && m.name == "data" && m.no_copy && !m.anonymous);
        let m = parse_bind("/only").unwrap();
        assert!(m.kind == "volume" && m.anonymous);
        for bad in ["", ":", "/a:", ":/a", "/a:b", "/a:/b:xx", "/a:/b:ro:z", "/a:/", "a/b:/c"] {
            assert!(parse_bind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_wins_where() {
        let host = HostConfig {
            binds: Some(vec!["/h:/x".into()]),
            tmpfs: Some(BTreeMap::from([("/t".into(), "size=1m,noexec".into())])),
            ..HostConfig::default()
        };
        let inherited = vec![
            Mounted { kind: "volume".into(), target: "/x".into(), ..Mounted::default() },
            Mounted { kind: "volume".into(), target: "/y".into(), ..Mounted::default() },
        ];
        let declared = ["/x".to_owned(), "/z".to_owned()];
        let plan = plan(&host, declared.iter(), inherited).unwrap();
        let kinds: Vec<_> = plan.iter().map(|p| (p.mount.target.as_str(), p.mount.kind.as_str())).collect();
        assert_eq!(kinds, [("/y", "volume"), ("/x", "bind"), ("/t", "tmpfs"), ("/z", "volume")]);
        assert_eq!(plan[2].mount.data, "size=1m");
        assert_eq!(tmpfs_flags("exec,size=1m,noexec,dev,ro"), ["dev", "ro"]);
    }

    #[test]
    fn paths_that_stay() {
        assert!(is_local("a/b") && is_local("a/../b") && is_local("") && is_local("./a"));
        assert!(!is_local("/a") && !is_local("../a") && !is_local("a/../../b"));
    }

    #[test]
    fn the_daemons_own_folders_are_watched() {
        let root = std::path::Path::new("/var/lib/engine");
        let one = |bind: &str| {
            let host = HostConfig { binds: Some(vec![bind.into()]), ..HostConfig::default() };
            let mut planned = plan(&host, [].iter(), vec![])?;
            watch_root(&mut planned, &host, root).map(|()| planned.remove(0).mount.propagation)
        };
        for bind in ["/:/x", "/var/lib/engine:/x:ro", "/var/lib/engine/containers:/x", "/:/x:rslave"] {
            assert_eq!(one(bind).as_deref(), Ok("rslave"), "{bind}");
        }
        assert_eq!(one("/tmp:/x").as_deref(), Ok("rprivate"));
        assert!(one("/:/x:rprivate").unwrap_err().contains("within the daemon root"));
    }

    #[test]
    fn the_same_place_twice_is_refused() {
        let host = HostConfig { binds: Some(vec!["/a:/x".into(), "/b:/x".into()]), ..HostConfig::default() };
        assert_eq!(plan(&host, [].iter(), vec![]).unwrap_err(), "Duplicate mount point: /x");
    }
}
