//! What `rmachine create` adds to a bare boot of the same kernel to the same init, and how long the
//! elder's way to an engine takes on the same QEMU.
//!
//! The bare boot is QEMU with the release's kernel and initramfs and nothing else, timed from its
//! start to the first report of PID 1. All use TCG, in turn, so that a busy host slows all.

mod commands;
mod debian;

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hostos_api::manifest::{MANIFEST_FILE, Manifest};
use hostos_api::{PORT_NAME, Report, Stage};

use crate::{cargo, image};

const ROUNDS: usize = 5;
/// That guest takes a minute or more each time.
const DEBIAN_ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(60);

/// Alternates them and prints medians, their difference and their ratio. `--bare` leaves out the
/// Debian guest.
pub(super) fn run(json: bool, rest: &[String]) -> Result<()> {
    let scratch = cargo::target_dir().join("bench-create");
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch).context("could not make a scratch directory")?;
    let release = cargo::target_dir().join("image/vm");
    let text = std::fs::read_to_string(release.join(MANIFEST_FILE)).context("could not read the manifest")?;
    let manifest: Manifest = serde_json::from_str(&text).context("the manifest does not parse")?;
    let guest = match rest {
        [] => Some(debian::Debian::build(&release, &manifest)?),
        [word] if word == "--bare" => None,
        _ => bail!("the benchmark knows one word, `--bare`: leave out the Debian guest"),
    };
    let (mut bare, mut create, mut elder) = (Vec::new(), Vec::new(), Vec::new());
    let (mut create_cpu, mut elder_cpu) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bare.push(bare_boot(&release, &manifest, &scratch)?);
        let took = timed_create(&scratch, round)?;
        create.push(took.wall);
        create_cpu.push(took.cpu);
        eprint!("    round {}: bare {:.2} s, create {:.2} s", round + 1, bare[round], create[round]);
        if let Some(guest) = guest.as_ref().filter(|_| round < DEBIAN_ROUNDS) {
            let took = guest.timed()?;
            eprint!(", Debian {:.2} s", took.wall);
            elder.push(took.wall);
            elder_cpu.push(took.cpu);
        }
        eprintln!();
    }
    // Against the creates of the same rounds: a host that got busy later slowed those alone.
    let ratio = (!elder.is_empty()).then(|| median(&elder) / median(&create[..elder.len()]));
    let cpu_ratio = (!elder.is_empty()).then(|| median(&elder_cpu) / median(&create_cpu));
    let (bare, create) = (median(&bare), median(&create));
    let commands = commands::measure(&scratch)?;
    if json {
        let mut figures = serde_json::json!({
            "bare_boot_s": bare, "create_s": create, "create_adds_s": create - bare,
            "ls_50_ms": commands.ls, "ls_quiet_50_ms": commands.ls_quiet,
            "first_create_none_ms": commands.first_keys, "three_creates_to_one": commands.three_to_one,
        });
        if let Some(ratio) = ratio {
            figures["debian_engine_s"] = median(&elder).into();
            figures["times_faster"] = ratio.into();
            figures["times_less_cpu"] = cpu_ratio.into();
        }
        println!("{figures}");
        return Ok(());
    }
    println!("bare boot to init     {bare:>6.2} s (median of {ROUNDS})");
    println!("create to ready       {create:>6.2} s (median of {ROUNDS})");
    println!("create adds           {:>6.2} s (aim: at most 1.50)", create - bare);
    println!("three creates at once {:>6.2} times one (aim: at most 2)", commands.three_to_one);
    println!("ls of 50 machines     {:>6.1} ms (aim: at most 50)", commands.ls);
    println!("ls -q of 50 machines  {:>6.1} ms (aim: at most 10)", commands.ls_quiet);
    println!("first create's keys   {:>6.1} ms (aim: at most 60), the whole command", commands.first_keys);
    if let Some(ratio) = ratio {
        println!("Debian to engine      {:>6.2} s (median of {DEBIAN_ROUNDS})", median(&elder));
        println!("create is             {ratio:>6.1} times faster (aim: at least 15)");
        let cpu = cpu_ratio.unwrap_or_default();
        println!("and takes its QEMU    {cpu:>6.1} times less of a processor, whatever else the host did");
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Ends the QEMU it holds, whatever happens.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bare_boot(release: &Path, manifest: &Manifest, scratch: &Path) -> Result<f64> {
    let port = scratch.join("port");
    let _ = std::fs::remove_file(&port);
    let began = Instant::now();
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-machine",
        "q35",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
    ])
    .args(["-m", "1024", "-smp", "1", "-display", "none", "-serial", "null", "-no-reboot"])
    .arg("-chardev")
    .arg(format!("socket,id=port,path={},server=on,wait=off", port.display()))
    .args(["-device", "virtio-serial-pci", "-device"])
    .arg(format!("virtserialport,chardev=port,name={PORT_NAME}"))
    .arg("-kernel")
    .arg(release.join(&manifest.kernel))
    .arg("-initrd")
    .arg(release.join(&manifest.initramfs))
    .args(["-append", &manifest.cmdline]);
    let child = qemu.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("could not start QEMU")?;
    let _ended = Ended(child);
    let stream = connect(&port, began)?;
    stream.set_read_timeout(Some(LIMIT)).context("could not set a deadline")?;
    for line in BufReader::new(stream).lines() {
        let line = line.context("no report of PID 1 came in time")?;
        if let Some(Report::Stage { stage: Stage::Init, .. }) = Report::from_line(&line) {
            return Ok(began.elapsed().as_secs_f64());
        }
    }
    bail!("QEMU ended before PID 1 reported")
}

fn connect(port: &Path, began: Instant) -> Result<UnixStream> {
    loop {
        match UnixStream::connect(port) {
            Ok(stream) => return Ok(stream),
            Err(error) if began.elapsed() > LIMIT => return Err(error).context("QEMU opens no port"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Seconds by the clock, and of the processor for QEMU.
struct Took {
    wall: f64,
    cpu: f64,
}

/// What a process has used so far: a steadier measure than the clock on a host with other work.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("QEMU ended")?;
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    // Fields 14 and 15 of the file, in hundredths of a second.
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

fn timed_create(scratch: &Path, round: usize) -> Result<Took> {
    let name = format!("bench{round}");
    let store = scratch.join("store");
    let began = Instant::now();
    let created = cargo::run(&mut rmachine(&store, &["create", "-d", "qemu", "--qemu-accel", "tcg", &name]));
    let wall = began.elapsed().as_secs_f64();
    let pid = std::fs::read_to_string(store.join("machines").join(&name).join("qemu.pid"));
    let cpu = pid.ok().and_then(|pid| cpu_seconds(pid.trim().parse().ok()?).ok()).unwrap_or(0.0);
    cargo::run(&mut rmachine(&store, &["rm", "-f", &name]))?;
    created.map(|()| Took { wall, cpu })
}

fn rmachine(store: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(image::rmachine());
    command.arg("-s").arg(store).args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
