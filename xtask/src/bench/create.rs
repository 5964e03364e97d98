//! What `rmachine create` adds to a bare boot of the same kernel to the same init.
//!
//! The bare boot is QEMU with the release's kernel and initramfs and nothing else, timed from its
//! start to the first report of PID 1. Both use TCG, in turn, so that a busy host slows both.

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
const LIMIT: Duration = Duration::from_secs(60);

/// Alternates the two and prints medians and their difference.
pub(super) fn run(json: bool) -> Result<()> {
    let scratch = cargo::target_dir().join("bench-create");
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch).context("could not make a scratch directory")?;
    let release = cargo::target_dir().join("image/vm");
    let (mut bare, mut create) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bare.push(bare_boot(&release, &scratch)?);
        create.push(timed_create(&scratch, round)?);
        eprintln!("    round {}: bare {:.2} s, create {:.2} s", round + 1, bare[round], create[round]);
    }
    let (bare, create) = (median(&mut bare), median(&mut create));
    if json {
        println!(
            "{}",
            serde_json::json!({ "bare_boot_s": bare, "create_s": create, "create_adds_s": create - bare })
        );
    } else {
        println!("bare boot to init     {bare:>6.2} s (median of {ROUNDS})");
        println!("create to ready       {create:>6.2} s (median of {ROUNDS})");
        println!("create adds           {:>6.2} s (aim: at most 1.50)", create - bare);
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
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

fn bare_boot(release: &Path, scratch: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(release.join(MANIFEST_FILE)).context("could not read the manifest")?;
    let manifest: Manifest = serde_json::from_str(&text).context("the manifest does not parse")?;
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

fn timed_create(scratch: &Path, round: usize) -> Result<f64> {
    let name = format!("bench{round}");
    let rmachine = |words: &[&str]| {
        let mut command = Command::new(image::rmachine());
        command.arg("-s").arg(scratch.join("store")).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let began = Instant::now();
    let created = cargo::run(&mut rmachine(&["create", "-d", "qemu", "--qemu-accel", "tcg", &name]));
    let took = began.elapsed().as_secs_f64();
    cargo::run(&mut rmachine(&["rm", "-f", &name]))?;
    created.map(|()| took)
}
