//! What a container has used, read from its cgroups.

use std::path::Path;

use engine_shim::spec::Cgroup;

use super::is_in;
use crate::error::RuntimeError;
use crate::limits::Stats;

pub(super) fn read_v1(spec: &Cgroup) -> Result<Stats, RuntimeError> {
    let dir =
        |controller: &str| spec.v1.iter().find(|dir| is_in(dir, controller)).cloned().unwrap_or_default();
    let (cpuacct, cpu, memory, pids, blkio) =
        (dir("cpuacct"), dir("cpu"), dir("memory"), dir("pids"), dir("blkio"));
    let usage = pairs(&cpuacct.join("cpuacct.stat"));
    let throttling = pairs(&cpu.join("cpu.stat"));
    let io = |recursive: &str, flat: &str| {
        let found = device_lines(&blkio.join(recursive));
        if found.is_empty() { device_lines(&blkio.join(flat)) } else { found }
    };
    Ok(Stats {
        cpu_total: number(&cpuacct.join("cpuacct.usage")),
        cpu_user: of(&usage, "user") * TICK,
        cpu_system: of(&usage, "system") * TICK,
        per_cpu: words(&cpuacct.join("cpuacct.usage_percpu")),
        cpu_periods: of(&throttling, "nr_periods"),
        cpu_throttled_periods: of(&throttling, "nr_throttled"),
        cpu_throttled_time: of(&throttling, "throttled_time"),
        memory_usage: number(&memory.join("memory.usage_in_bytes")),
        memory_max_usage: number(&memory.join("memory.max_usage_in_bytes")),
        memory_limit: number(&memory.join("memory.limit_in_bytes")).min(host_memory()),
        memory_failcnt: number(&memory.join("memory.failcnt")),
        memory_stats: pairs(&memory.join("memory.stat")).into_iter().collect(),
        pids: number(&pids.join("pids.current")),
        pids_limit: limit(&pids.join("pids.max")),
        io_bytes: io("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"),
        io_operations: io("blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"),
        unified: false,
    })
}

pub(super) fn read_v2(spec: &Cgroup) -> Result<Stats, RuntimeError> {
    let dir = spec.v2.clone().unwrap_or_default();
    let cpu = pairs(&dir.join("cpu.stat"));
    let micros = |key| of(&cpu, key) * 1000;
    let (io_bytes, io_operations) = io_v2(&text(&dir.join("io.stat")));
    Ok(Stats {
        cpu_total: micros("usage_usec"),
        cpu_user: micros("user_usec"),
        cpu_system: micros("system_usec"),
        per_cpu: Vec::new(),
        cpu_periods: of(&cpu, "nr_periods"),
        cpu_throttled_periods: of(&cpu, "nr_throttled"),
        cpu_throttled_time: micros("throttled_usec"),
        memory_usage: number(&dir.join("memory.current")),
        memory_max_usage: number(&dir.join("memory.peak")),
        memory_limit: limit(&dir.join("memory.max"))
            .map_or_else(host_memory, |bytes| bytes.min(host_memory())),
        memory_failcnt: of(&pairs(&dir.join("memory.events")), "max"),
        memory_stats: pairs(&dir.join("memory.stat")).into_iter().collect(),
        pids: number(&dir.join("pids.current")),
        pids_limit: limit(&dir.join("pids.max")),
        io_bytes,
        io_operations,
        unified: true,
    })
}

/// Nanoseconds in one of the kernel's USER_HZ ticks.
const TICK: u64 = 10_000_000;

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn number(path: &Path) -> u64 {
    text(path).trim().parse().unwrap_or(0)
}

fn limit(path: &Path) -> Option<u64> {
    text(path).trim().parse().ok()
}

fn words(path: &Path) -> Vec<u64> {
    text(path).split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn pairs(path: &Path) -> Vec<(String, u64)> {
    text(path)
        .lines()
        .filter_map(|line| {
            line.split_once(' ').and_then(|(key, value)| Some((key.into(), value.trim().parse().ok()?)))
        })
        .collect()
}

fn of(pairs: &[(String, u64)], key: &str) -> u64 {
    pairs.iter().find(|(name, _)| name == key).map_or(0, |(_, value)| *value)
}

type DeviceValue = (u64, u64, String, u64);

/// `8:0 Read 123`
fn device_lines(path: &Path) -> Vec<DeviceValue> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        Some((
            major.parse().ok()?,
            minor.parse().ok()?,
            words.next()?.to_owned(),
            words.next()?.parse().ok()?,
        ))
    };
    text(path).lines().filter_map(line).collect()
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`
fn io_v2(text: &str) -> (Vec<DeviceValue>, Vec<DeviceValue>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((Ok(major), Ok(minor))) = words
            .next()
            .and_then(|word| word.split_once(':'))
            .map(|(a, b)| (a.parse::<u64>(), b.parse::<u64>()))
        else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse() else { continue };
            match key {
                "rbytes" => bytes.push((major, minor, "read".to_owned(), value)),
                "wbytes" => bytes.push((major, minor, "write".to_owned(), value)),
                "rios" => operations.push((major, minor, "read".to_owned(), value)),
                "wios" => operations.push((major, minor, "write".to_owned(), value)),
                _ => {}
            }
        }
    }
    (bytes, operations)
}

/// MemTotal in bytes.
fn host_memory() -> u64 {
    text(Path::new("/proc/meminfo"))
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_io_lines_are_split_by_operation() {
        let (bytes, operations) = io_v2("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\nnonsense\n");
        assert_eq!(bytes, [(8, 0, "read".into(), 10), (8, 0, "write".into(), 20)]);
        assert_eq!(operations, [(8, 0, "read".into(), 1), (8, 0, "write".into(), 2)]);
    }
}
