//! A create request made complete: the image's settings merged in, defaults filled in, nonsense refused.
//!
//! The texts are Docker's, because clients and people know them.

use std::collections::BTreeMap;

use engine_api::host_config::HostConfig;
use engine_image::RunConfig;

use crate::options::Config;

/// Less memory than this no container can start in.
const LEAST_MEMORY: i64 = 6 << 20;

pub(crate) const LINKS_ON_HOST: &str = "conflicting options: host type networking can't be used with links. This would result in undefined behavior";

pub(crate) const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
pub(crate) const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Fills in from the image what the user did not say.
pub(crate) fn merge_image(user: &mut RunConfig, image: &RunConfig) {
    if user.user.is_empty() {
        user.user.clone_from(&image.user);
    }
    for (port, nothing) in &image.exposed_ports {
        user.exposed_ports.entry(port.clone()).or_insert(*nothing);
    }
    user.env = merge_env(user.env.take(), image.env.as_deref());
    user.labels.get_or_insert_default();
    merge_map(&mut user.labels, image.labels.as_ref());
    if user.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if user.cmd.as_ref().is_none_or(Vec::is_empty) {
            user.cmd.clone_from(&image.cmd);
        }
        if user.entrypoint.is_none() {
            user.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if user.entrypoint.as_ref().is_some_and(|e| e.len() == 1 && e[0].is_empty()) {
        user.entrypoint = None;
    }
    merge_health(user, image);
    if user.working_dir.is_empty() {
        user.working_dir.clone_from(&image.working_dir);
    }
    merge_map(&mut user.volumes, image.volumes.as_ref());
    if user.stop_signal.is_empty() {
        user.stop_signal.clone_from(&image.stop_signal);
    }
}

fn merge_env(user: Option<Vec<String>>, image: Option<&[String]>) -> Option<Vec<String>> {
    let Some(image) = image else { return user };
    let mut env = user.unwrap_or_default();
    let key = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let said: Vec<String> = env.iter().map(|e| key(e)).collect();
    env.extend(image.iter().filter(|e| !said.contains(&key(e))).cloned());
    Some(env)
}

fn merge_map<V: Clone>(user: &mut Option<BTreeMap<String, V>>, image: Option<&BTreeMap<String, V>>) {
    let Some(image) = image.filter(|m| !m.is_empty()) else { return };
    let user = user.get_or_insert_default();
    for (key, value) in image {
        user.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn merge_health(user: &mut RunConfig, image: &RunConfig) {
    let Some(from_image) = &image.healthcheck else { return };
    match &mut user.healthcheck {
        None => user.healthcheck = Some(from_image.clone()),
        Some(h) => {
            if h.test.is_empty() {
                h.test.clone_from(&from_image.test);
            }
            for (mine, theirs) in [
                (&mut h.interval, from_image.interval),
                (&mut h.timeout, from_image.timeout),
                (&mut h.start_period, from_image.start_period),
                (&mut h.start_interval, from_image.start_interval),
                (&mut h.retries, from_image.retries),
            ] {
                if *mine == 0 {
                    *mine = theirs;
                }
            }
        }
    }
}

/// Gives every open setting the value inspect shows for it.
pub(crate) fn fill_host(host: &mut HostConfig, config: &Config, cgroup2: bool) {
    if host.network_mode.is_empty() {
        host.network_mode = "default".into();
    }
    if host.log_config.kind.is_empty() {
        host.log_config.kind.clone_from(&config.log_driver);
        if host.log_config.config.is_empty() {
            host.log_config.config.clone_from(&config.log_opts);
        }
    }
    if host.shm_size == 0 {
        host.shm_size = i64::try_from(config.shm_size).unwrap_or(64 << 20);
    }
    if host.runtime.is_empty() {
        host.runtime = "runc".into();
    }
    if host.ipc_mode.is_empty() {
        host.ipc_mode.clone_from(&config.ipc_mode);
    }
    if host.cgroupns_mode.is_empty() {
        let default = if cgroup2 && !host.privileged { "private" } else { "host" };
        host.cgroupns_mode = config.cgroupns_mode.clone().unwrap_or_else(|| default.into());
    }
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".into();
    }
    if host.init.is_none() && config.init {
        host.init = Some(true);
    }
    host.oom_kill_disable.get_or_insert(false);
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory * 2;
    }
    if host.memory_swappiness == Some(-1) {
        host.memory_swappiness = None;
    }
    if host.pids_limit == Some(0) {
        host.pids_limit = None;
    }
    let owned = |list: &[&str]| Some(list.iter().map(|p| (*p).to_owned()).collect());
    if !host.privileged && !systempaths_unconfined(host) {
        host.masked_paths = host.masked_paths.take().or_else(|| owned(&MASKED_PATHS));
        host.readonly_paths = host.readonly_paths.take().or_else(|| owned(&READONLY_PATHS));
    }
}

fn systempaths_unconfined(host: &HostConfig) -> bool {
    host.security_opt.iter().flatten().any(|o| o == "systempaths=unconfined")
}

/// What Docker refuses at create and update.
pub(crate) fn check_host(host: &HostConfig, cpus: usize) -> Result<(), String> {
    check_memory(host)?;
    check_cpu(host, cpus)?;
    if super::host::has_blkio_weight() {
        check_blkio(host)?;
    }
    check_restart(host)?;
    if !matches!(host.log_config.kind.as_str(), "json-file" | "local" | "none" | "") {
        return Err(format!(
            "error looking up logging plugin {0}: plugin \"{0}\" not found",
            host.log_config.kind
        ));
    }
    match host.log_config.kind.as_str() {
        // It keeps nothing, however it is told to.
        "none" => {}
        kind => check_log(kind, &host.log_config.config)?,
    }
    if !matches!(host.runtime.as_str(), "" | "runc" | "io.containerd.runc.v2") {
        return Err(format!("unknown or invalid runtime name: {}", host.runtime));
    }
    for opt in host.security_opt.iter().flatten() {
        check_security(opt)?;
    }
    if host.oom_score_adj < -1000 || host.oom_score_adj > 1000 {
        return Err(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        ));
    }
    if host.shm_size < 0 {
        return Err("SHM size can not be less than 0".into());
    }
    // A limit that is not kept is worse than none.
    if let Some(key) = host.storage_opt.iter().flatten().map(|(key, _)| key.as_str()).next() {
        return Err(match key {
            "size" => {
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option".into()
            }
            key => format!("Unknown option {key}"),
        });
    }
    if host.network_mode == "host" && host.links.as_ref().is_some_and(|l| !l.is_empty()) {
        return Err(LINKS_ON_HOST.into());
    }
    Ok(())
}

fn check_memory(host: &HostConfig) -> Result<(), String> {
    let (memory, swap, reserved) = (host.memory, host.memory_swap, host.memory_reservation);
    let refuse = |text: &str| Err(text.to_owned());
    if memory != 0 && memory < LEAST_MEMORY {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if memory > 0 && swap > 0 && swap < memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && swap > 0 {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(n) = host.memory_swappiness
        && !(-1..=100).contains(&n)
    {
        return Err(format!("Invalid value: {n}, valid memory swappiness range is 0-100"));
    }
    if reserved > 0 && reserved < LEAST_MEMORY {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if memory > 0 && reserved > 0 && memory < reserved {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    Ok(())
}

fn check_blkio(host: &HostConfig) -> Result<(), String> {
    if host.blkio_weight != 0 && !(10..=1000).contains(&host.blkio_weight) {
        return Err("Range of blkio weight is from 10 to 1000".into());
    }
    Ok(())
}

fn check_cpu(host: &HostConfig, cpus: usize) -> Result<(), String> {
    let (nano, period, quota) = (host.nano_cpus, host.cpu_period, host.cpu_quota);
    if host.cpu_shares < 0 {
        return Err(format!("invalid CPU shares ({}): value must be a positive integer", host.cpu_shares));
    }
    if nano > 0 && period > 0 {
        return Err("Conflicting options: Nano CPUs and CPU Period cannot both be set".into());
    }
    if nano > 0 && quota > 0 {
        return Err("Conflicting options: Nano CPUs and CPU Quota cannot both be set".into());
    }
    if nano < 0 || nano > cpus as i64 * 1_000_000_000 {
        return Err(format!(
            "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if period != 0 && !(1000..=1_000_000).contains(&period) {
        return Err(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".into()
        );
    }
    if quota > 0 && quota < 1000 {
        return Err("CPU cfs quota can not be less than 1ms (i.e. 1000)".into());
    }
    check_set(&host.cpuset_cpus, cpus, "cpuset cpus", "CPUs")?;
    // Machines with several memory nodes may use them all.
    let nodes = super::host::memory_nodes();
    check_set(&host.cpuset_mems, nodes, "cpuset mems", "memory nodes")
}

fn check_set(set: &str, there: usize, what: &str, items: &str) -> Result<(), String> {
    if set.is_empty() {
        return Ok(());
    }
    let last = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (low.parse::<usize>().ok()?, high.parse::<usize>().ok()?);
        (low <= high).then_some(high)
    };
    let lasts: Option<Vec<usize>> = set.split(',').map(last).collect();
    let Some(lasts) = lasts else {
        return Err(format!("Invalid value {set} for {what}: invalid format: {set}"));
    };
    if lasts.iter().any(|l| *l >= there) {
        let available = if there == 1 { "0".to_owned() } else { format!("0-{}", there - 1) };
        return Err(format!("Requested {items} are not available - requested {set}, available: {available}"));
    }
    Ok(())
}

fn check_restart(host: &HostConfig) -> Result<(), String> {
    let policy = &host.restart_policy;
    match policy.name.as_str() {
        "always" | "unless-stopped" | "no" if policy.maximum_retry_count != 0 => {
            return Err(format!("maximum retry count cannot be used with restart policy '{}'", policy.name));
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            return Err("maximum retry count cannot be negative".into());
        }
        "always" | "unless-stopped" | "no" | "on-failure" | "" => {}
        other => return Err(format!("invalid restart policy '{other}'")),
    }
    if host.auto_remove && !matches!(policy.name.as_str(), "no" | "") {
        return Err("can't create 'AutoRemove' container with restart policy".into());
    }
    Ok(())
}

pub(crate) fn check_log(driver: &str, options: &BTreeMap<String, String>) -> Result<(), String> {
    let local = driver == "local";
    for (key, value) in options {
        match key.as_str() {
            "max-size" if value != "-1" && engine_api::size::parse(value).is_none() => {
                return Err(format!("invalid size: '{value}'"));
            }
            "max-file" if value.parse::<u32>().ok().is_none_or(|n| n == 0) => {
                return Err("max-file cannot be less than 1".into());
            }
            "mode" if !matches!(value.as_str(), "" | "blocking" | "non-blocking") => {
                return Err(format!("logger: logging mode not supported: {value}"));
            }
            "max-size" | "max-file" | "compress" | "mode" | "max-buffer-size" => {}
            "labels" | "labels-regex" | "env" | "env-regex" | "tag" if !local => {}
            _ if local => return Err(format!("unknown log opt '{key}' for local log driver")),
            _ => return Err(format!("unknown log opt '{key}' for json-file log driver")),
        }
    }
    Ok(())
}

fn check_security(opt: &str) -> Result<(), String> {
    let (key, value) = opt.split_once(['=', ':']).unwrap_or((opt, ""));
    match (key, value) {
        ("no-new-privileges", "" | "true" | "false") => Ok(()),
        ("seccomp", "unconfined" | "builtin") => Ok(()),
        ("seccomp", _) => Err(
            "custom seccomp profiles are not supported yet: use seccomp=unconfined or the built-in profile"
                .into(),
        ),
        ("apparmor" | "label" | "systempaths", _) => Ok(()),
        _ if opt.contains(['=', ':']) => Err(format!("invalid --security-opt 2: {opt:?}")),
        _ => Err(format!("invalid --security-opt 1: {opt:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Option<Vec<String>> {
        Some(items.iter().map(|s| (*s).to_owned()).collect())
    }

    #[test]
    fn commands_and_entrypoints() {
        let image = RunConfig { cmd: list(&["c"]), entrypoint: list(&["e"]), ..RunConfig::default() };
        for (entry, cmd, want) in [
            (None, None, (list(&["e"]), list(&["c"]))),
            (None, list(&["x"]), (list(&["e"]), list(&["x"]))),
            (list(&["y"]), None, (list(&["y"]), None)),
            (list(&[""]), list(&["x"]), (None, list(&["x"]))),
        ] {
            let mut user = RunConfig { cmd, entrypoint: entry, ..RunConfig::default() };
            merge_image(&mut user, &image);
            assert_eq!((user.entrypoint, user.cmd), want);
        }
    }

    #[test]
    fn environment_of_the_user_wins() {
        let mut user = RunConfig { env: list(&["A=1"]), ..RunConfig::default() };
        merge_image(&mut user, &RunConfig { env: list(&["A=2", "B=3"]), ..RunConfig::default() });
        assert_eq!(user.env, list(&["A=1", "B=3"]));
    }

    #[test]
    fn nonsense_is_refused() {
        let base = HostConfig::default();
        let cases: [(HostConfig, &str); 7] = [
            (HostConfig { memory: 1 << 20, ..base.clone() }, "Minimum memory limit allowed is 6MB"),
            (HostConfig { memory_swap: 1 << 30, ..base.clone() }, "You should always set the Memory"),
            (HostConfig { nano_cpus: 3_000_000_000, ..base.clone() }, "Range of CPUs is from 0.01 to 2.00"),
            (
                HostConfig { cpuset_cpus: "0-5".into(), ..base.clone() },
                "Requested CPUs are not available - requested 0-5, available: 0-1",
            ),
            (HostConfig { cpu_period: 5, ..base.clone() }, "CPU cfs period"),
            (HostConfig { oom_score_adj: 2000, ..base.clone() }, "Invalid value 2000"),
            (HostConfig { runtime: "kata".into(), ..base.clone() }, "unknown or invalid runtime name: kata"),
        ];
        for (host, text) in cases {
            let e = check_host(&host, 2).unwrap_err();
            assert!(e.starts_with(text), "{e}");
        }
        assert!(check_host(&base, 2).is_ok());
    }
}
