//! `stats`: what containers use, once or again every second.
//!
//! A live view asks for one sample of each container at a time, and takes the difference to the one before.

use std::collections::BTreeMap;
use std::time::Duration;

use quiet_stdout::put;
use serde_json::{Value, json};

use crate::flags::Options;
use crate::format::{self, Headers, Row, asked};
use crate::http::{Body, Client, Failure, escape};
use crate::words::{short_id, size, text};

const STATS: Headers = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
const COLUMNS: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn stats(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let format = asked(options)?;
    let whole = options.is_set("no-trunc")?;
    if options.is_set("no-stream")? {
        let names = names(client, options)?;
        let samples = at_once(client, &names)?;
        let rows: Vec<Row> =
            names.iter().zip(&samples).map(|(name, sample)| row(name, sample, whole)).collect();
        format::rows(&rows, &format, COLUMNS, STATS)?;
        return Ok(0);
    }
    let mut before: BTreeMap<String, Value> = BTreeMap::new();
    put!("\x1b[2J");
    loop {
        let (mut rows, mut now) = (Vec::new(), BTreeMap::new());
        for name in names(client, options)? {
            let path = format!("/containers/{}/stats?stream=0&one-shot=1", escape(&name));
            let mut sample = match client.json("GET", &path, Body::None) {
                Ok(sample) => sample,
                // Of those that were listed, one may be gone by now.
                Err(Failure::Refused { status: 404, .. }) if options.args().is_empty() => continue,
                Err(failure) => return Err(failure),
            };
            if let Some(earlier) = before.get_mut(&name) {
                sample["precpu_stats"] = earlier["cpu_stats"].take();
            }
            rows.push(row(&name, &sample, whole));
            now.insert(name, sample);
        }
        let table = format::lines(&rows, &format, COLUMNS, STATS)?;
        put!("{}", over_the_last(&table));
        before = now;
        std::thread::sleep(PAUSE);
    }
}

/// From the top of the screen, each line wiping what was longer before.
fn over_the_last(table: &str) -> String {
    let lines: String = table.lines().map(|line| format!("{line} \x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

/// The containers that were named, or those that run, or all.
fn names(client: &Client, options: &Options<'_>) -> Result<Vec<String>, Failure> {
    let given = options.args();
    if !given.is_empty() {
        return Ok(given);
    }
    let listed =
        client.json("GET", &format!("/containers/json?all={}", options.is_set("all")?), Body::None)?;
    let ids = listed.as_array().into_iter().flatten();
    Ok(ids.map(|container| short_id(&text(&container["Id"]))).collect())
}

/// The engine watches a container for a second to tell its share of the processor: all of them together.
fn at_once(client: &Client, names: &[String]) -> Result<Vec<Value>, Failure> {
    let ask = |name: &String| {
        client.json("GET", &format!("/containers/{}/stats?stream=0", escape(name)), Body::None)
    };
    std::thread::scope(|scope| {
        let asked: Vec<_> = names.iter().map(|name| scope.spawn(move || ask(name))).collect();
        let answers = asked.into_iter().map(|one| one.join().expect("asking does not panic"));
        answers.collect()
    })
}

fn row(name: &str, sample: &Value, whole: bool) -> Row {
    let id = text(&sample["id"]);
    let (used, limit) = memory(&sample["memory_stats"]);
    let share = if limit == 0 { 0.0 } else { used as f64 / limit as f64 * 100.0 };
    let (received, sent) = network(sample);
    let (read, written) = blocks(&sample["blkio_stats"]);
    let binary = engine_api::size::binary;
    let fields = json!({
        "Container": name, "Name": text(&sample["name"]).trim_start_matches('/'),
        "ID": if whole { id } else { short_id(&id) },
        "CPUPerc": format!("{:.2}%", processor(sample)),
        "MemUsage": format!("{} / {}", binary(used), binary(limit)),
        "MemPerc": format!("{share:.2}%"),
        "NetIO": format!("{} / {}", size(received), size(sent)),
        "BlockIO": format!("{} / {}", size(read), size(written)),
        "PIDs": number(&sample["pids_stats"]["current"]).to_string(),
    });
    Row { fields, labels: Value::Null }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// In hundredths of one processor's time.
fn processor(sample: &Value) -> f64 {
    let (now, before) = (&sample["cpu_stats"], &sample["precpu_stats"]);
    let passed = |value: &dyn Fn(&Value) -> u64| value(now) as f64 - value(before) as f64;
    let own = passed(&|stats| number(&stats["cpu_usage"]["total_usage"]));
    let all = passed(&|stats| number(&stats["system_cpu_usage"]));
    let count = match number(&now["online_cpus"]) {
        0 => now["cpu_usage"]["percpu_usage"].as_array().map_or(0, Vec::len) as f64,
        count => count as f64,
    };
    if own > 0.0 && all > 0.0 { own / all * count * 100.0 } else { 0.0 }
}

/// Without what is only cached and could be given back; and the limit.
fn memory(stats: &Value) -> (u64, u64) {
    let used = number(&stats["usage"]);
    // By the names of cgroup v1 and v2.
    let cached = ["total_inactive_file", "inactive_file"].iter().find_map(|key| stats["stats"][key].as_u64());
    (cached.and_then(|cached| used.checked_sub(cached)).unwrap_or(used), number(&stats["limit"]))
}

/// Bytes received and sent, over all networks.
fn network(sample: &Value) -> (i64, i64) {
    let all = || sample["networks"].as_object().into_iter().flatten().map(|(_, counts)| counts);
    let sum = |key: &str| all().filter_map(|counts| counts[key].as_i64()).sum();
    (sum("rx_bytes"), sum("tx_bytes"))
}

/// Bytes read and written.
fn blocks(stats: &Value) -> (i64, i64) {
    let sum = |op: &str| {
        let all = stats["io_service_bytes_recursive"].as_array().into_iter().flatten();
        let wanted = all.filter(|entry| text(&entry["op"]).eq_ignore_ascii_case(op));
        wanted.filter_map(|entry| entry["value"].as_i64()).sum()
    };
    (sum("read"), sum("write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_in_a_row() {
        let sample = json!({
            "id": "0123456789abcdef", "name": "/web",
            "cpu_stats": {"cpu_usage": {"total_usage": 3_000}, "system_cpu_usage": 30_000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 1_000}, "system_cpu_usage": 10_000},
            "memory_stats": {"usage": 1_048_576, "limit": 4_194_304, "stats": {"inactive_file": 524_288}},
            "networks": {"eth0": {"rx_bytes": 1_000, "tx_bytes": 2}, "eth1": {"rx_bytes": 500, "tx_bytes": 1}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"op": "Read", "value": 4_096}, {"op": "write", "value": 10}, {"op": "Total", "value": 4_106},
            ]},
            "pids_stats": {"current": 7},
        });
        let row = row("w", &sample, false);
        let shown = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
        assert_eq!(
            shown.map(|key| text(&row.fields[key])),
            ["0123456789ab", "web", "20.00%", "512KiB / 4MiB", "12.50%", "1.5kB / 3B", "4.1kB / 10B", "7"]
        );
        // One that does not run.
        let row = super::row("w", &json!({"id": "x", "name": "/w"}), false);
        assert_eq!(text(&row.fields["MemUsage"]), "0B / 0B");
    }

    #[test]
    fn a_new_picture_covers_the_one_before() {
        assert_eq!(over_the_last("A\nb\n"), "\x1b[HA \x1b[K\nb \x1b[K\n\x1b[J");
    }
}
