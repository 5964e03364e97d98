//! Bare machines that boot from the network into a cluster: QEMUs with nothing but a network card.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use system_tests::{Cluster, Workstation, eventually};

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const UEFI: &str = "/usr/share/ovmf/OVMF.fd";

/// A machine without a disk on the cluster's switch.
fn bare(here: &Workstation, mac: &str, firmware: Option<&str>) -> Result<Ends> {
    let netdev = "stream,id=n0,server=off,addr.type=unix,addr.path=clusters/pxe/switch.sock";
    let device = format!("virtio-net-pci,netdev=n0,mac={mac},bootindex=0");
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "q35", "-cpu", "max", "-m", "1024", "-display", "none", "-serial", "null"]);
    command.args(["-nodefaults", "-netdev", netdev, "-device", &device, "-device", "virtio-rng-pci"]);
    if let Some(firmware) = firmware {
        command.args(["-bios", firmware]);
    }
    command.current_dir(here.store()).stdin(Stdio::null());
    Ok(Ends(command.spawn().context("no QEMU")?))
}

#[test]
fn bare_machines_join_by_bios_and_uefi_and_unknown_ones_do_not() -> Result<()> {
    let cluster = Cluster::create("pxe", &["head"], &[])?;
    let here = &cluster.here;
    let _server = Ends(here.command(&["pxe", "serve", "--cluster", "pxe"]).spawn()?);
    let pxe = |words: &[&str]| here.rmachine(&[&["pxe"], words].concat());
    pxe(&["approve", "52:54:00:00:00:01", "--name", "metal1"])?;
    let _bios = bare(here, "52:54:00:00:00:01", None)?;
    let _unknown = bare(here, "52:54:00:00:00:09", None)?;
    let listed = |words: &str| pxe(&["ls"]).is_ok_and(|text| text.lines().any(|line| line.contains(words)));
    eventually("metal1 joined", Duration::from_secs(240), || listed("metal1") && listed("joined"))?;
    ensure!(listed("52:54:00:00:00:09   -   ") && !here.store().join("x").exists());
    let unit = cluster.unit_file(
        "m.service",
        "[Service]\nExecStart=/bin/sleep 1d\n[X-Fleet]\nMachineMetadata=provider=pxe\n",
    )?;
    cluster.fleetctl(&["start", &unit])?;
    eventually("it runs units", Duration::from_secs(60), || {
        cluster.machine_of("m.service").as_deref() == Some("metal1")
    })?;
    ensure!(
        cluster
            .fleetctl(&["list-members"])?
            .lines()
            .any(|line| line.contains("worker") && line.contains("metal1"))
    );
    no_key_was_made_for_it(&here.store().join("clusters/pxe/pxe/metal1"))?;
    ensure!(here.rmachine(&["ls"])?.lines().any(|line| line.contains("metal1") && line.contains("Running")));
    if std::path::Path::new(UEFI).exists() {
        pxe(&["approve", "52:54:00:00:00:02", "--name", "metal2"])?;
        let _uefi = bare(here, "52:54:00:00:00:02", Some(UEFI))?;
        eventually("metal2 joined", Duration::from_secs(300), || {
            cluster.fleetctl(&["list-machines", "--no-legend"]).is_ok_and(|text| text.lines().count() == 3)
        })?;
    }
    Ok(())
}

/// What it proves itself by it made on board: the store has only what a person logs in with.
fn no_key_was_made_for_it(dir: &std::path::Path) -> Result<()> {
    let mut names: Vec<String> = std::fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    ensure!(names == ["id_ed25519", "id_ed25519.pub"], "{names:?}");
    Ok(())
}
