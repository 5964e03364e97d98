//! `docker stats` and `docker top`: what a container uses, and its processes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Daemon;
use super::container::Container;
use super::error::{Refusal, Result};
use super::host;
use crate::clock;

/// One sample, as the API has it, without its predecessor.
pub(crate) struct Sample {
    pub(crate) read: String,
    pub(crate) cpu: Value,
    rest: Value,
}

impl Daemon {
    /// Samples a running container; `None` when it does not run.
    pub(crate) fn sample(&self, container: &Container) -> Result<Option<Sample>> {
        let Some(program) = container.program() else { return Ok(None) };
        let stats = program.stats()?;
        let mut usage = json!({
            "total_usage": stats.cpu_total,
            "usage_in_kernelmode": stats.cpu_system,
            "usage_in_usermode": stats.cpu_user,
        });
        if !stats.per_cpu.is_empty() {
            usage["percpu_usage"] = json!(stats.per_cpu);
        }
        let cpu = json!({
            "cpu_usage": usage,
            "system_cpu_usage": system_cpu(),
            "online_cpus": host::cpus(),
            "throttling_data": {
                "periods": stats.cpu_periods,
                "throttled_periods": stats.cpu_throttled_periods,
                "throttled_time": stats.cpu_throttled_time,
            },
        });
        let mut memory =
            json!({ "usage": stats.memory_usage, "stats": stats.memory_stats, "limit": stats.memory_limit });
        if !stats.unified {
            memory["max_usage"] = stats.memory_max_usage.into();
        }
        let blkio = |list: &[(u64, u64, String, u64)]| -> Vec<Value> {
            list.iter()
                .map(|(major, minor, op, value)| json!({ "major": major, "minor": minor, "op": op, "value": value }))
                .collect()
        };
        let mut pids = json!({ "current": stats.pids });
        if let Some(limit) = stats.pids_limit {
            pids["limit"] = limit.into();
        }
        let rest = json!({
            "pids_stats": pids,
            "blkio_stats": {
                "io_service_bytes_recursive": blkio(&stats.io_bytes),
                "io_serviced_recursive": blkio(&stats.io_operations),
                "io_queue_recursive": [], "io_service_time_recursive": [], "io_wait_time_recursive": [],
                "io_merged_recursive": [], "io_time_recursive": [], "sectors_recursive": [],
            },
            "num_procs": 0,
            "storage_stats": {},
            "memory_stats": memory,
            "name": format!("/{}", container.name()),
            "id": container.id,
            "networks": interfaces(program.pid()),
        });
        Ok(Some(Sample { read: clock::rfc3339(clock::now()), cpu, rest }))
    }
}

impl Sample {
    /// The sample with the one before it, from which clients compute the share of the CPU.
    pub(crate) fn json(&self, before: Option<&Sample>) -> Value {
        let mut body = self.rest.clone();
        body["read"] = self.read.clone().into();
        body["preread"] = before.map_or("0001-01-01T00:00:00Z", |b| b.read.as_str()).into();
        body["cpu_stats"] = self.cpu.clone();
        body["precpu_stats"] = before.map_or_else(no_cpu, |b| b.cpu.clone());
        body
    }
}

fn no_cpu() -> Value {
    json!({
        "cpu_usage": { "total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0 },
        "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
    })
}

/// What is sent for a container that does not run.
pub(crate) fn empty(container: &Container) -> Value {
    json!({
        "read": "0001-01-01T00:00:00Z", "preread": "0001-01-01T00:00:00Z",
        "pids_stats": {}, "num_procs": 0, "storage_stats": {}, "cpu_stats": no_cpu(), "precpu_stats": no_cpu(),
        "blkio_stats": {
            "io_service_bytes_recursive": null, "io_serviced_recursive": null, "io_queue_recursive": null,
            "io_service_time_recursive": null, "io_wait_time_recursive": null, "io_merged_recursive": null,
            "io_time_recursive": null, "sectors_recursive": null,
        },
        "memory_stats": {}, "name": format!("/{}", container.name()), "id": container.id,
    })
}

/// Nanoseconds all CPUs have worked or idled.
fn system_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: u64 = line.split_whitespace().skip(1).take(7).filter_map(|n| n.parse::<u64>().ok()).sum();
    ticks * 10_000_000
}

/// The interfaces of a process's network, without loopback.
fn interfaces(pid: i32) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut found = BTreeMap::new();
    for line in text.lines().skip(2) {
        let Some((name, figures)) = line.split_once(':') else { continue };
        let n: Vec<u64> = figures.split_whitespace().filter_map(|f| f.parse().ok()).collect();
        if name.trim() == "lo" || n.len() < 12 {
            continue;
        }
        let entry = json!({
            "rx_bytes": n[0], "rx_packets": n[1], "rx_errors": n[2], "rx_dropped": n[3],
            "tx_bytes": n[8], "tx_packets": n[9], "tx_errors": n[10], "tx_dropped": n[11],
        });
        found.insert(name.trim().to_owned(), entry);
    }
    found
}

impl Daemon {
    /// The processes of a container, as ps would list them.
    pub(crate) fn top(&self, container: &Container, args: &str) -> Result<Value> {
        let not_running = || Refusal::conflict(format!("Container {} is not running", container.id));
        let program = container.program().ok_or_else(not_running)?;
        if container.record().state.restarting {
            return Err(Refusal::conflict(format!(
                "Container {} is restarting, wait until the container is running",
                container.id
            )));
        }
        let pids = program.pids()?;
        let (titles, rows): (&[&str], Vec<Vec<String>>) = match args {
            "" | "-ef" => (
                &["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"],
                pids.iter().filter_map(|p| Process::read(*p)).map(|p| p.full()).collect(),
            ),
            "aux" | "-aux" => (
                &["USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START", "TIME", "COMMAND"],
                pids.iter().filter_map(|p| Process::read(*p)).map(|p| p.aux()).collect(),
            ),
            _ => return run_ps(args, &pids),
        };
        Ok(json!({ "Processes": rows, "Titles": titles }))
    }
}

/// Any other wish goes to the host's ps, if it has one.
fn run_ps(args: &str, pids: &[i32]) -> Result<Value> {
    let words: Vec<&str> = args.split_whitespace().collect();
    let output = std::process::Command::new("ps").args(&words).output();
    let output = output.map_err(|_| Refusal::bad("this host has no ps: use -ef or aux"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let first = text.trim().lines().next().unwrap_or_default();
        return Err(Refusal::internal(format!("ps: {first}")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let place = titles
        .iter()
        .position(|t| *t == "PID")
        .ok_or_else(|| Refusal::internal("Couldn't find PID field in ps output"))?;
    let rows: Vec<Vec<String>> = lines
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let pid = words.get(place)?.parse().ok()?;
            pids.contains(&pid).then(|| {
                let (head, tail) = words.split_at(titles.len().min(words.len()) - 1);
                head.iter().map(|w| (*w).to_owned()).chain([tail.join(" ")]).collect()
            })
        })
        .collect();
    Ok(json!({ "Processes": rows, "Titles": titles }))
}

/// What ps shows of a process.
struct Process {
    user: String,
    pid: i32,
    stat: Vec<String>,
    command: String,
}

const TICKS: u64 = 100;

impl Process {
    fn read(pid: i32) -> Option<Process> {
        use std::os::unix::fs::MetadataExt;
        let dir = format!("/proc/{pid}");
        let uid = std::fs::metadata(&dir).ok()?.uid();
        let stat = std::fs::read_to_string(format!("{dir}/stat")).ok()?;
        let (before, after) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1;
        let raw = std::fs::read(format!("{dir}/cmdline")).ok()?;
        let words: Vec<String> = raw
            .split(|b| *b == 0)
            .filter(|w| !w.is_empty())
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect();
        let command = if words.is_empty() { format!("[{name}]") } else { words.join(" ") };
        let fields = after.split_whitespace().map(str::to_owned).collect();
        Some(Process { user: user_name(uid), pid, stat: fields, command })
    }

    /// Field `n` of stat(5), counted from 1 as there.
    fn number(&self, n: usize) -> u64 {
        self.stat.get(n - 3).and_then(|f| f.parse().ok()).unwrap_or(0)
    }

    fn seconds(&self) -> u64 {
        (self.number(14) + self.number(15)) / TICKS
    }

    fn age(&self) -> u64 {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let up: f64 = uptime.split_whitespace().next().and_then(|u| u.parse().ok()).unwrap_or(0.0);
        (up as u64).saturating_sub(self.number(22) / TICKS)
    }

    fn started(&self) -> String {
        let at = clock::now() - i64::try_from(self.age()).unwrap_or(0) * 1_000_000_000;
        clock::rfc3339(at).get(11..16).unwrap_or_default().to_owned()
    }

    fn terminal(&self) -> String {
        match self.number(7) {
            0 => "?".into(),
            n if (n >> 8) & 0xfff == 136 => format!("pts/{}", n & 0xff),
            n => format!("tty{}", n & 0xff),
        }
    }

    fn full(self) -> Vec<String> {
        let seconds = self.seconds();
        let busy = (seconds * 100).checked_div(self.age()).unwrap_or(0).min(99);
        let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        let ppid = self.number(4).to_string();
        let (started, terminal) = (self.started(), self.terminal());
        vec![self.user, self.pid.to_string(), ppid, busy.to_string(), started, terminal, time, self.command]
    }

    fn aux(self) -> Vec<String> {
        let seconds = self.seconds();
        let busy = (seconds * 100).checked_div(self.age()).unwrap_or(0);
        let resident = self.number(24) * 4;
        let share = resident as f64 * 1024.0 * 100.0 / host::memory_total().max(1) as f64;
        let state = self.stat.first().cloned().unwrap_or_default();
        let (started, terminal) = (self.started(), self.terminal());
        let time = format!("{}:{:02}", seconds / 60, seconds % 60);
        let virt = (self.number(23) / 1024).to_string();
        let shown = [
            format!("{busy}.0"),
            format!("{share:.1}"),
            virt,
            resident.to_string(),
            terminal,
            state,
            started,
            time,
        ];
        [self.user, self.pid.to_string()].into_iter().chain(shown).chain([self.command]).collect()
    }
}

/// The host's name of a user, or the number.
fn user_name(uid: u32) -> String {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let named = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    named.unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_listed() {
        let own = Process::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        let row = own.full();
        assert_eq!((row.len(), row[1].as_str()), (8, std::process::id().to_string().as_str()));
        assert!(row[4].len() == 5 && !row[7].is_empty());
    }
}
