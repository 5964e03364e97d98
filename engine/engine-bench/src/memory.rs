//! What an engine's own processes take.
//!
//! They are told from the containers' programs by their mount namespace: the daemon, its helpers and the shims stay
//! in the daemon's, each container has its own. Shared pages count by share (Pss), so that the sum is true.

use std::fs;

use anyhow::{Context as _, Result};

use crate::engine::Engine;

/// Mebibytes of all its processes.
pub(crate) fn of(engine: &Engine) -> Result<f64> {
    let own = mount_namespace(engine.pid()).context("the engine has no namespace")?;
    let processes = fs::read_dir("/proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let kibibytes: u64 = pids.filter(|pid| mount_namespace(*pid) == Some(own.clone())).filter_map(pss).sum();
    Ok(kibibytes as f64 / 1024.0)
}

fn mount_namespace(pid: u32) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

/// `None`: it has ended, or has no memory any more.
fn pss(pid: u32) -> Option<u64> {
    parse(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn parse(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_shares_is_found() {
        let rollup = "00400000-7ffc [rollup]\nRss:     900 kB\nPss:     123 kB\nPss_Dirty:  7 kB\n";
        assert_eq!(parse(rollup), Some(123));
        assert_eq!(parse("Rss: 1 kB\n"), None);
    }
}
