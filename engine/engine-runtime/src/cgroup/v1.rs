//! Limits in the v1 hierarchies.

use std::path::{Path, PathBuf};

use engine_shim::spec::Cgroup;

use super::layout::Layout;
use super::{is_in, write_control};
use crate::error::{At, RuntimeError};
use crate::limits::{BlkioDevice, DeviceRule, Resources};

/// Allowed in every container: the nodes of its `/dev`, terminals, and making
/// nodes of any kind (not using them).
const STANDARD_DEVICES: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

pub(super) fn create(
    layout: &Layout,
    spec: &Cgroup,
    parent: &str,
    resources: &Resources,
) -> Result<(), RuntimeError> {
    for (hierarchy, dir) in layout.v1.iter().zip(&spec.v1) {
        make_parents(&hierarchy.root, parent, is_in(&hierarchy.root, "cpuset"))?;
        std::fs::create_dir(dir).or_else(exists).at("create", dir)?;
        if is_in(&hierarchy.root, "cpuset") {
            inherit_cpuset(dir)?;
        }
    }
    if let (Some(root), Some(dir)) = (&layout.unified, &spec.v2) {
        make_parents(root, parent, false)?;
        std::fs::create_dir(dir).or_else(exists).at("create", dir)?;
    }
    limit(spec, resources)?;
    limit_devices(spec, resources)
}

fn exists(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

fn make_parents(root: &Path, parent: &str, cpuset: bool) -> Result<(), RuntimeError> {
    let mut dir = root.to_owned();
    for part in parent.split('/').filter(|part| !part.is_empty()) {
        dir.push(part);
        if !dir.exists() {
            std::fs::create_dir(&dir).or_else(exists).at("create", &dir)?;
            if cpuset {
                inherit_cpuset(&dir)?;
            }
        }
    }
    Ok(())
}

/// A new cpuset is empty, and nothing can join it so.
fn inherit_cpuset(dir: &Path) -> Result<(), RuntimeError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = dir.join(file);
        let own = std::fs::read_to_string(&path).at("read", &path)?;
        if own.trim().is_empty() {
            let above = dir.parent().unwrap_or(dir).join(file);
            let value = std::fs::read_to_string(&above).at("read", above)?;
            write_control(dir, file, value.trim())?;
        }
    }
    Ok(())
}

pub(super) fn limit(spec: &Cgroup, resources: &Resources) -> Result<(), RuntimeError> {
    let set = |controller: &str, file: &str, value: Option<String>| match value {
        Some(value) => find(spec, controller)
            .map_or_else(|| missing(controller, file), |dir| write_control(&dir, file, &value)),
        None => Ok(()),
    };
    let text = |value: String| Some(value).filter(|text| !text.is_empty());
    limit_memory(spec, resources)?;
    set("cpu", "cpu.shares", resources.cpu_shares.filter(|shares| *shares > 0).map(|n| n.to_string()))?;
    let period = resources.cpu_period.filter(|period| *period > 0);
    set("cpu", "cpu.cfs_period_us", period.map(|n| n.to_string()))?;
    set("cpu", "cpu.cfs_quota_us", resources.quota().map(|n| n.to_string()))?;
    set("cpuset", "cpuset.cpus", text(resources.cpuset_cpus.clone()))?;
    set("cpuset", "cpuset.mems", text(resources.cpuset_mems.clone()))?;
    set("pids", "pids.max", resources.pids.map(|n| if n <= 0 { "max".into() } else { n.to_string() }))?;
    limit_io(spec, resources)
}

/// The limit on memory and swap together must never lie below that on memory,
/// so the order depends on whether they grow or shrink.
fn limit_memory(spec: &Cgroup, resources: &Resources) -> Result<(), RuntimeError> {
    const BOTH: &str = "memory.memsw.limit_in_bytes";
    let Some(dir) = find(spec, "memory") else {
        return if resources.memory.is_some() { missing("memory", "memory.limit_in_bytes") } else { Ok(()) };
    };
    let swap = resources.memory_swap.filter(|_| dir.join(BOTH).exists());
    if let Some(memory) = resources.memory.filter(|bytes| *bytes > 0) {
        let set_memory = || write_control(&dir, "memory.limit_in_bytes", &memory.to_string());
        match (set_memory(), swap) {
            (Err(_), Some(swap)) => {
                write_control(&dir, BOTH, &swap.to_string())?;
                set_memory()?;
            }
            (done, _) => done?,
        }
    }
    if let Some(swap) = swap {
        write_control(&dir, BOTH, &swap.to_string())?;
    }
    if let Some(bytes) = resources.memory_reservation.filter(|bytes| *bytes > 0) {
        write_control(&dir, "memory.soft_limit_in_bytes", &bytes.to_string())?;
    }
    if let Some(percent) = resources.memory_swappiness {
        write_control(&dir, "memory.swappiness", &percent.to_string())?;
    }
    if resources.oom_kill_disable {
        write_control(&dir, "memory.oom_control", "1")?;
    }
    Ok(())
}

fn limit_io(spec: &Cgroup, resources: &Resources) -> Result<(), RuntimeError> {
    let Some(dir) = find(spec, "blkio") else { return Ok(()) };
    if let Some(weight) = resources.blkio_weight.filter(|weight| *weight > 0) {
        // Which of the two exists depends on the scheduler; neither is no error.
        for file in ["blkio.weight", "blkio.bfq.weight"] {
            if dir.join(file).exists() {
                write_control(&dir, file, &weight.to_string())?;
                break;
            }
        }
    }
    let throttled: [(&str, &[BlkioDevice]); 4] = [
        ("blkio.throttle.read_bps_device", &resources.blkio_read_bps),
        ("blkio.throttle.write_bps_device", &resources.blkio_write_bps),
        ("blkio.throttle.read_iops_device", &resources.blkio_read_iops),
        ("blkio.throttle.write_iops_device", &resources.blkio_write_iops),
    ];
    for (file, devices) in throttled {
        for device in devices {
            write_control(&dir, file, &format!("{}:{} {}", device.major, device.minor, device.rate))?;
        }
    }
    Ok(())
}

fn limit_devices(spec: &Cgroup, resources: &Resources) -> Result<(), RuntimeError> {
    if resources.all_devices {
        return Ok(());
    }
    let Some(dir) = find(spec, "devices") else { return Ok(()) };
    write_control(&dir, "devices.deny", "a")?;
    for rule in STANDARD_DEVICES {
        write_control(&dir, "devices.allow", rule)?;
    }
    for rule in &resources.devices {
        write_control(&dir, "devices.allow", &rule_text(rule))?;
    }
    Ok(())
}

fn rule_text(rule: &DeviceRule) -> String {
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    format!("{} {}:{} {}", rule.kind, number(rule.major), number(rule.minor), rule.access)
}

fn find(spec: &Cgroup, controller: &str) -> Option<PathBuf> {
    spec.v1.iter().find(|dir| is_in(dir, controller)).cloned()
}

fn missing(controller: &str, file: &str) -> Result<(), RuntimeError> {
    Err(RuntimeError::Unsupported {
        what: format!("set {file}"),
        why: format!("this host has no {controller} cgroup hierarchy"),
    })
}
