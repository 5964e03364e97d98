//! Limits in a unified hierarchy.

use std::path::Path;

use engine_shim::spec::Cgroup;

use super::layout::Layout;
use super::{bpf, write_control};
use crate::error::{At, RuntimeError};
use crate::limits::Resources;

const CONTROLLERS: [&str; 5] = ["memory", "pids", "cpu", "cpuset", "io"];

pub(super) fn create(
    spec: &Cgroup,
    layout: &Layout,
    parent: &str,
    resources: &Resources,
) -> Result<(), RuntimeError> {
    let (Some(dir), Some(root)) = (&spec.v2, &layout.unified) else { return Ok(()) };
    let mut above = root.clone();
    enable_controllers(&above);
    for part in parent.split('/').filter(|part| !part.is_empty()) {
        above.push(part);
        if !above.exists() {
            std::fs::create_dir(&above).or_else(exists).at("create", &above)?;
        }
        enable_controllers(&above);
    }
    std::fs::create_dir(dir).or_else(exists).at("create", dir)?;
    limit(spec, resources)?;
    if resources.all_devices {
        Ok(())
    } else {
        bpf::restrict_devices(dir, &resources.devices).at("restrict devices of", dir)
    }
}

fn exists(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// One by one, as a single refused name would refuse them all. What stays off
/// shows later, when a limit is asked for that needs it.
fn enable_controllers(dir: &Path) {
    let file = dir.join("cgroup.subtree_control");
    let on = std::fs::read_to_string(&file).unwrap_or_default();
    for name in CONTROLLERS.iter().filter(|name| !on.split_whitespace().any(|word| word == **name)) {
        let _ = std::fs::write(&file, format!("+{name}"));
    }
}

pub(super) fn limit(spec: &Cgroup, resources: &Resources) -> Result<(), RuntimeError> {
    let Some(dir) = &spec.v2 else { return Ok(()) };
    for (file, value) in values(resources) {
        if !dir.join(file).exists() {
            if file == "memory.swap.max" || file == "io.weight" {
                continue;
            }
            return Err(RuntimeError::Unsupported {
                what: format!("set {file}"),
                why: "the controller is not enabled in this cgroup".into(),
            });
        }
        write_control(dir, file, &value)?;
    }
    Ok(())
}

/// The files and what goes into them.
fn values(resources: &Resources) -> Vec<(&'static str, String)> {
    let mut values = Vec::new();
    let memory = resources.memory.filter(|bytes| *bytes > 0);
    if let Some(bytes) = memory {
        values.push(("memory.max", bytes.to_string()));
    }
    match (resources.memory_swap, memory) {
        (Some(-1), _) => values.push(("memory.swap.max", "max".into())),
        (Some(both), Some(memory)) if both > 0 => {
            values.push(("memory.swap.max", (both as u64).saturating_sub(memory).to_string()));
        }
        _ => {}
    }
    if let Some(bytes) = resources.memory_reservation.filter(|bytes| *bytes > 0) {
        values.push(("memory.low", bytes.to_string()));
    }
    if let Some(shares) = resources.cpu_shares.filter(|shares| *shares > 0) {
        values.push(("cpu.weight", weight_of_shares(shares).to_string()));
    }
    let period = resources.cpu_period.filter(|period| *period > 0);
    match (resources.quota(), period) {
        (None, None) => {}
        (quota, period) => {
            let quota = quota.filter(|n| *n > 0).map_or("max".to_owned(), |n| n.to_string());
            values.push(("cpu.max", format!("{quota} {}", period.unwrap_or(100_000))));
        }
    }
    for (file, text) in [("cpuset.cpus", &resources.cpuset_cpus), ("cpuset.mems", &resources.cpuset_mems)] {
        if !text.is_empty() {
            values.push((file, text.clone()));
        }
    }
    if let Some(pids) = resources.pids {
        values.push(("pids.max", if pids <= 0 { "max".into() } else { pids.to_string() }));
    }
    if let Some(weight) = resources.blkio_weight.filter(|weight| *weight > 0) {
        let weight = 1 + (u64::from(weight) - 10) * 9999 / 990;
        values.push(("io.weight", format!("default {weight}")));
    }
    for (key, devices) in [
        ("rbps", &resources.blkio_read_bps),
        ("wbps", &resources.blkio_write_bps),
        ("riops", &resources.blkio_read_iops),
        ("wiops", &resources.blkio_write_iops),
    ] {
        values
            .extend(devices.iter().map(|d| ("io.max", format!("{}:{} {key}={}", d.major, d.minor, d.rate))));
    }
    values
}

/// 2..=262144 onto 1..=10000, as every runtime maps it.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_units_become_v2s() {
        let resources = Resources {
            memory: Some(64 << 20),
            memory_swap: Some(128 << 20),
            nano_cpus: Some(500_000_000),
            cpu_shares: Some(1024),
            pids: Some(20),
            blkio_weight: Some(1000),
            ..Resources::default()
        };
        let expected = [
            ("memory.max", "67108864"),
            ("memory.swap.max", "67108864"),
            ("cpu.weight", "39"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "20"),
            ("io.weight", "default 10000"),
        ];
        let values = values(&resources);
        assert_eq!(values.iter().map(|(file, value)| (*file, value.as_str())).collect::<Vec<_>>(), expected);
        assert!(super::values(&Resources::default()).is_empty());
    }
}
