//! A host that exists already: a Debian guest with systemd and ssh, made from packages.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use system_tests::{Workstation, eventually, image, ran, stock_client};

#[test]
#[ignore = "needs the Debian guest that `cargo xtask bench create` builds, and two minutes"]
fn a_debian_host_is_adopted_secured_and_forgotten() -> Result<()> {
    let here = Workstation::new()?;
    let (guest, ssh, engine) = (guest()?, free_port()?, free_port()?);
    let _host = boot(&guest, ssh, engine)?;
    let (ssh, engine) = (ssh.to_string(), engine.to_string());
    // Its server answers long before a host that boots on a busy computer lets anybody in.
    eventually("the host lets us in", Duration::from_secs(600), || {
        let mut client = stock_client("ssh", &guest.join("id_ed25519"));
        client.args(["-p", &ssh, "root@127.0.0.1", "true"]);
        ran(&mut client).is_ok_and(|login| login.code == Some(0))
    })?;
    here.rmachine(&[
        "create",
        "-d",
        "generic",
        "--generic-ip-address",
        "127.0.0.1",
        "--generic-ssh-port",
        &ssh,
        "--generic-engine-port",
        &engine,
        "--generic-ssh-key",
        &guest.join("id_ed25519").to_string_lossy(),
        "--engine-label",
        "zone=a",
        "--engine-env",
        "HTTP_PROXY=http://10.9.8.5:3128",
        "host1",
    ])?;
    let info = here.docker("host1", &["info"])?;
    for wanted in ["zone=a", "provider=generic", "10.9.8.5:3128", "Debian"] {
        ensure!(info.contains(wanted), "docker info does not show {wanted}: {info}");
    }
    ensure!(here.try_rmachine(&["ssh", "host1", "exit 7"])?.code == Some(7));
    ensure!(here.try_rmachine(&["stop", "host1"])?.stderr.contains("a host of its own"));
    here.rmachine(&["regenerate-certs", "-f", "host1"])?;
    ensure!(here.docker("host1", &["version"])?.contains("Server:"));
    here.rmachine(&["rm", "-y", "host1"])?;
    ensure!(here.rmachine(&["ls", "-q"])?.is_empty());
    Ok(())
}

struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The guest without its own engine: that would be refused.
fn boot(guest: &Path, ssh: u16, engine: u16) -> Result<Host> {
    let release = image().context("there is no image to take the kernel of")?;
    let boot = std::fs::read_dir(guest.join("root/boot"))?.flatten().map(|entry| entry.path());
    let initramfs = boot.into_iter().find(|path| path.to_string_lossy().contains("initrd.img-"));
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-nodefaults", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024"])
        .args(["-display", "none", "-no-reboot", "-kernel"])
        .arg(release.join("vmlinuz"))
        .arg("-initrd")
        .arg(initramfs.context("the guest has no initramfs")?)
        .args([
            "-append",
            "root=/dev/vda rw no_timer_check quiet systemd.mask=docker.service systemd.mask=docker.socket",
        ])
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,snapshot=on", guest.join("disk.img").display()))
        .arg("-netdev")
        .arg(format!("user,id=n,hostfwd=tcp:127.0.0.1:{ssh}-:22,hostfwd=tcp:127.0.0.1:{engine}-:{engine}"))
        .args(["-device", "virtio-net-pci,netdev=n,romfile=", "-device", "virtio-rng-pci"]);
    Ok(Host(qemu.stdin(Stdio::null()).spawn().context("could not start QEMU")?))
}

fn guest() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let built = |dir: &Path| [dir.join("bench-debian"), dir.join("target/bench-debian")];
    let found = program.ancestors().flat_map(built).find(|dir| dir.join("disk.img").exists());
    found.context("build the guest with `cargo xtask bench create`")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
