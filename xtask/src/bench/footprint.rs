//! How large a release is, part by part, and how much memory a machine of 512 MiB uses once it is
//! ready: with the engine, and with key-value store and fleet agent too.
//!
//! Used is what the kernel says is not available. It is read by a unit some seconds after the last
//! session ended, so that the measuring itself is not measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hostos_api::manifest::MANIFEST_FILE;
use images::Release;

use super::guest::Guest;

/// Bytes of the kernel and everything that boots with it.
const IMAGE_LIMIT: u64 = 45_000_000;
/// MiB in use with the engine, and with the other two daemons.
const ENGINE_LIMIT: f64 = 50.0;
const ALL_LIMIT: f64 = 56.0;

/// Longer than a machine needs to come to rest.
const SETTLE: Duration = Duration::from_secs(12);

/// Measures, prints, and fails if a limit is exceeded.
pub(super) fn run(release: &Release, json: bool) -> Result<()> {
    let guest = Guest::create("footprint", &[], &["--qemu-memory", "512"])?;
    let (engine, engine_processes) = measure(&guest, "engine")?;
    guest.ssh("systemctl start kv.service fleet.service")?;
    let (all, processes) = measure(&guest, "all")?;
    drop(guest);
    let image: u64 = release.manifest.files.values().map(|file| file.size).sum();
    if json {
        let figures = serde_json::json!({
            "image_bytes": image, "engine_used_mib": engine, "all_used_mib": all,
            "files": release.manifest.files.iter().map(|(name, file)| (name, file.size)).collect::<BTreeMap<_, _>>(),
        });
        println!("{figures}");
    } else {
        print_sizes(release, image);
        print_memory("with the engine", engine, ENGINE_LIMIT, &engine_processes);
        print_memory("with kv and fleet too", all, ALL_LIMIT, &processes);
    }
    let mut over = Vec::new();
    if image > IMAGE_LIMIT {
        over.push(format!("the image has {image} bytes, the limit is {IMAGE_LIMIT}"));
    }
    for (what, used, limit) in [("the engine", engine, ENGINE_LIMIT), ("all daemons", all, ALL_LIMIT)] {
        if used > limit {
            over.push(format!("a machine with {what} uses {used:.1} MiB, the limit is {limit:.0}"));
        }
    }
    if over.is_empty() { Ok(()) } else { bail!(over.join("; ")) }
}

/// MiB in use, and what of it belongs to which process.
fn measure(guest: &Guest, name: &str) -> Result<(f64, Vec<(String, f64)>)> {
    let file = format!("/run/footprint-{name}");
    // Whatever this starts is over before the measure is taken.
    guest.ssh(&format!(
        "printf \"[Service]\\nType=oneshot\\nExecStartPre=/bin/sleep {}\\nExecStart=/bin/cat /proc/meminfo\\n\
         StandardOutput=file:{file}\\n\" > /run/systemd/system/footprint-{name}.service; \
         systemctl daemon-reload; systemctl start --no-block footprint-{name}.service",
        SETTLE.as_secs()
    ))?;
    let began = Instant::now();
    std::thread::sleep(SETTLE);
    let text = loop {
        let text = guest.ssh(&format!("cat {file} || true"))?;
        if text.contains("MemAvailable") {
            break text;
        }
        if began.elapsed() > 10 * SETTLE {
            bail!("the machine does not measure its memory");
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    let value = |key: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
        let kib: f64 = line.trim_matches([':', ' ', 'k', 'B']).parse().context("no number")?;
        Ok(kib / 1024.0)
    };
    let used = value("MemTotal")? - value("MemAvailable")?;
    Ok((used, processes(guest)?))
}

/// Each process' share (Pss), largest first.
fn processes(guest: &Guest) -> Result<Vec<(String, f64)>> {
    let listed = guest.ssh(
        // A thread of the kernel has no memory of its own, and a process may end meanwhile.
        "for dir in /proc/[0-9]*; do \
           share=$(grep ^Pss: $dir/smaps_rollup 2>/dev/null) && echo \"$(cat $dir/comm) $share\"; \
         done; true",
    )?;
    let mut shares: Vec<(String, f64)> = listed
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" Pss:")?;
            let kib: f64 = rest.trim().trim_end_matches("kB").trim().parse().ok()?;
            Some((name.to_owned(), kib / 1024.0))
        })
        .collect();
    ensure!(!shares.is_empty(), "the machine lists no processes: {listed}");
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(shares)
}

fn print_sizes(release: &Release, image: u64) {
    println!("{:<26}{:>12} bytes", "FILE", "");
    for (name, file) in &release.manifest.files {
        println!("{name:<26}{:>12}", file.size);
    }
    println!("{:<26}{image:>12}  (limit {IMAGE_LIMIT}; {MANIFEST_FILE} left out)", "together");
    println!("\n{:<26}{:>12} bytes before compression", "PART OF THE ROOT", "");
    for (part, size) in &release.components {
        println!("{part:<26}{size:>12}");
    }
}

fn print_memory(what: &str, used: f64, limit: f64, processes: &[(String, f64)]) {
    println!("\nmemory in use {what}: {used:.1} MiB of 512 (limit {limit:.0}); by process:");
    for (name, share) in processes.iter().filter(|(_, share)| *share >= 0.1) {
        println!("  {name:<20}{share:>8.1} MiB");
    }
}
