//! Devices a container may use: the nodes made for it, and the rules of its cgroup.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use engine_api::host_config::{DeviceMapping, HostConfig};
use engine_runtime::DeviceRule;
use engine_runtime::spec::Device;

use super::error::{Refusal, Result};

/// How deep folders of devices are looked through.
const DEPTH: u32 = 4;

/// The nodes to make.
pub(crate) fn nodes(host: &HostConfig) -> Result<Vec<Device>> {
    let mut nodes = Vec::new();
    if host.privileged {
        collect(Path::new("/dev"), "/dev", DEPTH, &mut nodes);
    }
    for mapping in host.devices.iter().flatten() {
        nodes.retain(|n: &Device| n.path != target(mapping));
        nodes.extend(mapped(mapping)?);
    }
    Ok(nodes)
}

/// The rules beyond the standard ones.
pub(crate) fn rules(host: &HostConfig) -> Result<Vec<DeviceRule>> {
    let mut rules = Vec::new();
    for mapping in host.devices.iter().flatten() {
        let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
        rules.extend(mapped(mapping)?.into_iter().map(|d| DeviceRule {
            kind: d.kind,
            major: Some(d.major),
            minor: Some(d.minor),
            access: access.to_owned(),
        }));
    }
    for text in host.device_cgroup_rules.iter().flatten() {
        rules.push(
            parse_rule(text)
                .ok_or_else(|| Refusal::bad(format!("invalid device cgroup rule format: '{text}'")))?,
        );
    }
    Ok(rules)
}

fn target(mapping: &DeviceMapping) -> &str {
    if mapping.path_in_container.is_empty() { &mapping.path_on_host } else { &mapping.path_in_container }
}

fn mapped(mapping: &DeviceMapping) -> Result<Vec<Device>> {
    let path = Path::new(&mapping.path_on_host);
    let wrong = || {
        Refusal::internal(format!(
            "error gathering device information while adding custom device \"{}\": no such file or directory",
            mapping.path_on_host
        ))
    };
    let meta = std::fs::metadata(path).map_err(|_| wrong())?;
    if meta.is_dir() {
        let mut nodes = Vec::new();
        collect(path, target(mapping), DEPTH, &mut nodes);
        return Ok(nodes);
    }
    node(&meta, target(mapping)).map(|n| vec![n]).ok_or_else(|| {
        Refusal::internal(format!(
            "error gathering device information while adding custom device \"{}\": not a device node",
            mapping.path_on_host
        ))
    })
}

fn node(meta: &std::fs::Metadata, path: &str) -> Option<Device> {
    let kind = match meta.file_type() {
        t if t.is_char_device() => 'c',
        t if t.is_block_device() => 'b',
        _ => return None,
    };
    Some(Device {
        path: path.to_owned(),
        kind,
        major: nix::sys::stat::major(meta.rdev()) as u32,
        minor: nix::sys::stat::minor(meta.rdev()) as u32,
        mode: meta.permissions().mode() & 0o777,
        uid: meta.uid(),
        gid: meta.gid(),
    })
}

fn collect(dir: &Path, shown: &str, depth: u32, nodes: &mut Vec<Device>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Terminals, shared memory and queues are the container's own.
        if depth == DEPTH
            && matches!(name.as_str(), "pts" | "shm" | "mqueue" | "fd" | "console" | "ptmx" | "lxc")
        {
            continue;
        }
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        let shown = format!("{shown}/{name}");
        if meta.is_dir() && depth > 1 {
            collect(&entry.path(), &shown, depth - 1, nodes);
        } else if let Some(node) = node(&meta, &shown) {
            nodes.push(node);
        }
    }
}

/// Major and minor of a device node.
pub(crate) fn numbers(path: &Path) -> Result<(u32, u32)> {
    let meta = std::fs::metadata(path)
        .map_err(|_| Refusal::bad(format!("stat {}: no such file or directory", path.display())))?;
    Ok((nix::sys::stat::major(meta.rdev()) as u32, nix::sys::stat::minor(meta.rdev()) as u32))
}

/// `c 42:* rwm`
fn parse_rule(text: &str) -> Option<DeviceRule> {
    let mut words = text.split_whitespace();
    let kind = words.next().filter(|k| matches!(*k, "a" | "b" | "c"))?.chars().next()?;
    let (major, minor) = words.next()?.split_once(':')?;
    let access = words.next()?;
    let number = |t: &str| if t == "*" { Some(None) } else { t.parse().ok().map(Some) };
    let fits = access.len() <= 3 && access.chars().all(|c| "rwm".contains(c)) && words.next().is_none();
    fits.then_some(DeviceRule {
        kind,
        major: number(major)?,
        minor: number(minor)?,
        access: access.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let r = parse_rule("c 42:* rw").unwrap();
        assert_eq!((r.kind, r.major, r.minor, r.access.as_str()), ('c', Some(42), None, "rw"));
        for bad in ["", "x 1:1 r", "c 1 r", "c 1:1 rx", "c 1:1 r w"] {
            assert!(parse_rule(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn nodes_are_found() {
        let mapping = DeviceMapping {
            path_on_host: "/dev/null".into(),
            path_in_container: "/dev/nothing".into(),
            ..Default::default()
        };
        let host = HostConfig { devices: Some(vec![mapping]), ..HostConfig::default() };
        let nodes = nodes(&host).unwrap();
        assert_eq!((nodes[0].path.as_str(), nodes[0].major, nodes[0].minor), ("/dev/nothing", 1, 3));
        let none = DeviceMapping { path_on_host: "/dev/nope".into(), ..Default::default() };
        assert!(rules(&HostConfig { devices: Some(vec![none]), ..HostConfig::default() }).is_err());
    }
}
