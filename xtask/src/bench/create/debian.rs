//! The elder's way to a machine with an engine: a Debian guest with systemd, cloud-init and docker.io,
//! all from packages, on the same kernel and the same QEMU.
//!
//! It is made easier for that guest wherever the two differ: its packages are installed already, its
//! cloud-init finds its data in its own file system, and its engine listens without TLS.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hostos_api::manifest::Manifest;

use super::{Ended, Took, cpu_seconds};
use crate::cargo;

const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,kmod,ifupdown,isc-dhcp-client,iproute2,iptables,\
    openssh-server,ca-certificates,netbase,python3-cffi-backend,cloud-init,docker.io,initramfs-tools";
const DISK: &str = "2G";
const LIMIT: Duration = Duration::from_secs(600);

/// A disk image, and the initramfs that finds it.
pub(super) struct Debian {
    disk: PathBuf,
    initramfs: PathBuf,
    kernel: PathBuf,
}

impl Debian {
    /// Builds the guest unless it is there already. Takes minutes, root and a Debian mirror.
    pub(super) fn build(release: &Path, manifest: &Manifest) -> Result<Self> {
        let dir = cargo::target_dir().join("bench-debian");
        let (root, disk) = (dir.join("root"), dir.join("disk.img"));
        if !disk.exists() {
            ensure!(
                cargo::output(Command::new("id").arg("-u"))?.trim() == "0",
                "the Debian guest is made by debootstrap, which needs root; `-- --bare` leaves it out"
            );
            eprintln!("    building the Debian guest (some minutes, once)");
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
            // What the packages' scripts mount stays in a namespace of their own.
            let mut debootstrap = Command::new("unshare");
            debootstrap.args(["--mount", "debootstrap", "--variant=minbase"]);
            debootstrap.arg(format!("--include={PACKAGES}")).arg("bookworm").arg(&root);
            cargo::run(debootstrap.stdout(Stdio::null())).context("is debootstrap installed?")?;
            install_kernel(&root, &manifest.kernel_version)?;
            configure(&root)?;
            let_in(&dir, &root)?;
            let part = dir.join("disk.part");
            let mut mkfs = Command::new("mkfs.ext4");
            mkfs.args(["-q", "-F", "-d"]).arg(&root).arg(&part).arg(DISK);
            cargo::run(&mut mkfs)?;
            std::fs::rename(&part, &disk).context("could not put the disk image in its place")?;
        }
        let initramfs = root.join(format!("boot/initrd.img-{}", manifest.kernel_version));
        ensure!(
            initramfs.exists(),
            "the Debian guest has another kernel than {}: remove {} and try again",
            manifest.kernel_version,
            dir.display()
        );
        Ok(Self { disk, initramfs, kernel: release.join(&manifest.kernel) })
    }

    /// From the start of QEMU to the engine's answer.
    pub(super) fn timed(&self) -> Result<Took> {
        let port = free_port()?;
        let began = Instant::now();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-machine", "q35", "-accel", "tcg,thread=multi"])
            .args(["-cpu", "max", "-m", "1024", "-smp", "1", "-display", "none", "-serial", "null"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", "root=/dev/vda rw console=ttyS0 no_timer_check quiet panic=-1", "-no-reboot"])
            .arg("-drive")
            .arg(format!("file={},format=raw,if=virtio,snapshot=on", self.disk.display()))
            .arg("-netdev")
            .arg(format!("user,id=n,hostfwd=tcp:127.0.0.1:{port}-:2375"))
            .args(["-device", "virtio-net-pci,netdev=n,romfile=", "-device", "virtio-rng-pci"]);
        let child =
            qemu.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("could not start QEMU")?;
        let ended = Ended(child);
        while began.elapsed() < LIMIT {
            if answers(port) {
                let wall = began.elapsed().as_secs_f64();
                return Ok(Took { wall, cpu: cpu_seconds(ended.0.id())? });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the engine of the Debian guest did not answer within {} s", LIMIT.as_secs())
    }
}

/// The release's kernel comes from the security archive, where debootstrap does not look.
fn install_kernel(root: &Path, version: &str) -> Result<()> {
    let list = root.join("etc/apt/sources.list");
    let written = std::fs::read_to_string(&list).context("debootstrap wrote no sources.list")?;
    let mirror =
        written.split_whitespace().nth(1).context("sources.list names no mirror")?.trim_end_matches('/');
    let sources = format!(
        "deb {mirror} bookworm main\ndeb {mirror} bookworm-updates main\n\
         deb {mirror}-security bookworm-security main\n"
    );
    std::fs::write(&list, sources).context("could not write sources.list")?;
    let script = format!(
        "export DEBIAN_FRONTEND=noninteractive; apt-get -q update && \
         apt-get -q -y --no-install-recommends install linux-image-{version} && apt-get clean"
    );
    let mut chroot = Command::new("unshare");
    chroot.arg("--mount").arg("chroot").arg(root).args(["sh", "-c", &script]);
    cargo::run(chroot.stdout(Stdio::null()))
}

/// A host name, DHCP and cloud-init's data as any such guest has them, and an engine on TCP.
fn configure(root: &Path) -> Result<()> {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(root))
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("could not write {}", path.display()))
    };
    write("var/lib/cloud/seed/nocloud/meta-data", "instance-id: bench\nlocal-hostname: bench\n")?;
    write(
        "var/lib/cloud/seed/nocloud/user-data",
        "#cloud-config\nusers:\n  - default\nssh_pwauth: false\nlocale: C.UTF-8\n",
    )?;
    // Sought among all clouds, cloud-init would wait much longer.
    write("etc/cloud/cloud.cfg.d/90-source.cfg", "datasource_list: [ NoCloud, None ]\n")?;
    write("etc/fstab", "/dev/vda / ext4 defaults 0 1\n")?;
    write(
        "etc/systemd/system/docker.service.d/tcp.conf",
        "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// -H tcp://0.0.0.0:2375\n",
    )
}

/// A key that root takes, for whoever wants to look inside.
fn let_in(dir: &Path, root: &Path) -> Result<()> {
    let key = dir.join("id_ed25519");
    cargo::run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
    let place = root.join("root/.ssh");
    std::fs::create_dir_all(&place).with_context(|| format!("could not make {}", place.display()))?;
    std::fs::copy(key.with_extension("pub"), place.join("authorized_keys"))
        .context("could not place the key")?;
    Ok(())
}

/// A fresh connection each time, given up soon: QEMU's network takes it before the guest listens.
fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let limit = Duration::from_millis(250);
    let Ok(mut stream) = TcpStream::connect_timeout(&address, limit) else { return false };
    let mut answer = [0; 12];
    stream.set_read_timeout(Some(limit)).is_ok()
        && stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.ends_with(b"200")
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr().context("no port is free")?.port())
}
