//! What a container may use, and what it has used: values only.

use serde::{Deserialize, Serialize};

/// Limits, in Docker's units; `None` means not limited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes, soft.
    pub memory_reservation: Option<u64>,
    /// Memory plus swap in bytes; -1 is unlimited swap.
    pub memory_swap: Option<i64>,
    /// 0-100; v1 only.
    pub memory_swappiness: Option<u64>,
    pub oom_kill_disable: bool,
    /// Relative weight, 1024 is normal (v1 scale on both versions).
    pub cpu_shares: Option<u64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Microseconds per period.
    pub cpu_quota: Option<i64>,
    /// CPUs in billionths (`--cpus`); used when quota is unset.
    pub nano_cpus: Option<u64>,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    /// `None`, 0 and -1 mean unlimited.
    pub pids: Option<i64>,
    /// 10-1000.
    pub blkio_weight: Option<u16>,
    pub blkio_read_bps: Vec<BlkioDevice>,
    pub blkio_write_bps: Vec<BlkioDevice>,
    pub blkio_read_iops: Vec<BlkioDevice>,
    pub blkio_write_iops: Vec<BlkioDevice>,
    /// Allowed beyond the standard ones; ignored when `all_devices`.
    pub devices: Vec<DeviceRule>,
    /// Privileged: no device is refused.
    pub all_devices: bool,
}

/// One throttled device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BlkioDevice {
    pub major: u32,
    pub minor: u32,
    pub rate: u64,
}

/// A device the container may use. `None` numbers mean any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// `a`, `b` or `c`.
    pub kind: char,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Letters out of `rwm`.
    pub access: String,
}

/// A sample for `docker stats`, in Docker's units; fields follow its JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Nanoseconds.
    pub cpu_total: u64,
    pub cpu_user: u64,
    pub cpu_system: u64,
    /// Per CPU; empty on v2.
    pub per_cpu: Vec<u64>,
    pub cpu_periods: u64,
    pub cpu_throttled_periods: u64,
    pub cpu_throttled_time: u64,
    pub memory_usage: u64,
    pub memory_max_usage: u64,
    /// The host's memory when unlimited.
    pub memory_limit: u64,
    pub memory_failcnt: u64,
    /// `memory.stat`, key by key.
    pub memory_stats: std::collections::BTreeMap<String, u64>,
    pub pids: u64,
    /// `None` is `max`.
    pub pids_limit: Option<u64>,
    /// (major, minor, operation, bytes)
    pub io_bytes: Vec<(u64, u64, String, u64)>,
    pub io_operations: Vec<(u64, u64, String, u64)>,
    /// True when read from a unified hierarchy.
    pub unified: bool,
}

impl Resources {
    /// Microseconds per period: as given, or worked out from `nano_cpus`.
    pub(crate) fn quota(&self) -> Option<i64> {
        match (self.cpu_quota, self.nano_cpus) {
            (Some(quota), _) if quota != 0 => Some(quota),
            (_, Some(nano)) if nano > 0 => {
                let period = self.cpu_period.filter(|period| *period > 0).unwrap_or(100_000);
                i64::try_from(u128::from(nano) * u128::from(period) / 1_000_000_000).ok()
            }
            _ => None,
        }
    }
}
