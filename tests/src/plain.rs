//! A machine without `rmachine`: plain QEMU and a release, as someone without our tools boots it.

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::config::Config;
use crate::release::Release;
use crate::{Ran, Web, ran, stock_client};

/// A boot takes some 6 s on an idle computer.
const READY: Duration = Duration::from_secs(300);

/// The hardware: memory, a disk, what the firmware holds. It can be started again and again.
pub struct Plain {
    dir: tempfile::TempDir,
    release: Release,
    memory: u32,
    boot: Vec<String>,
    network: String,
    devices: Vec<String>,
    boots: Cell<usize>,
}

impl Plain {
    /// One with 512 MiB, no disk and no config, that boots the release's kernel directly.
    ///
    /// # Errors
    /// There is no release, or no room.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("rmachine-plain-").tempdir().context("no room")?;
        let key = dir.path().join("id_ed25519");
        let made = ran(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key))?;
        made.stdout_if_ok("ssh-keygen")?;
        let release = Release::find()?;
        let words = [("-kernel", "kernel"), ("-initrd", "initramfs")];
        let mut boot: Vec<String> = words
            .iter()
            .flat_map(|(flag, role)| [(*flag).to_owned(), release.file(role).display().to_string()])
            .collect();
        boot.extend(["-append".to_owned(), release.word("cmdline").to_owned()]);
        let network = String::new();
        Ok(Self { dir, release, memory: 512, boot, network, devices: Vec::new(), boots: Cell::new(0) })
    }

    /// With so many MiB of memory.
    #[must_use]
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory = mib;
        self
    }

    /// With a blank state disk of so many MiB.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn disk(mut self, mib: u64) -> Result<Self> {
        File::create(self.path("state.raw"))?.set_len(mib * 1024 * 1024)?;
        let drive = format!("if=none,id=state,format=raw,file={}", self.path("state.raw").display());
        self.add(&["-drive", &drive, "-device", "virtio-blk-pci,drive=state,serial=rmachine-state"]);
        Ok(self)
    }

    /// With a config in its firmware.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn config(mut self, text: &str) -> Result<Self> {
        std::fs::write(self.path("config.ign"), text)?;
        let entry = format!("name=opt/com.coreos/config,file={}", self.path("config.ign").display());
        self.add(&["-fw_cfg", &entry]);
        Ok(self)
    }

    /// With a further argument for the kernel, from the next start on.
    #[must_use]
    pub fn argument(mut self, word: &str) -> Self {
        let at = self.boot.iter().position(|word| word == "-append").expect("it boots a kernel directly");
        self.boot[at + 1].push_str(&format!(" {word}"));
        self
    }

    /// With a cloud around it: firmware of `maker`, and `web` as its metadata service.
    ///
    /// # Errors
    /// It cannot be set up.
    pub fn in_cloud(mut self, maker: &str, web: &Web) -> Result<Self> {
        // QEMU starts one for each connection.
        let relay = self.path("metadata");
        let script = format!(
            "#!/bin/bash\nexec 2>/dev/null 3<>/dev/tcp/127.0.0.1/{} 4<&0\ncat <&4 >&3 & asks=$!\ncat <&3\nkill $asks\n",
            web.port()
        );
        std::fs::write(&relay, script)?;
        std::fs::set_permissions(&relay, std::fs::Permissions::from_mode(0o755))?;
        self.network =
            format!(",net=169.254.169.0/24,guestfwd=tcp:169.254.169.254:80-cmd:{}", relay.display());
        self.add(&["-smbios", &format!("type=1,manufacturer={maker}")]);
        Ok(self)
    }

    /// With further arguments for QEMU.
    #[must_use]
    pub fn with(mut self, words: &[&str]) -> Self {
        self.add(words);
        self
    }

    /// Boots over the network instead, from QEMU's own DHCP and TFTP: first this script, with the
    /// files of the release beside it.
    ///
    /// # Errors
    /// The files cannot be linked.
    pub fn from_network(mut self, script: &str) -> Result<Self> {
        let tree = self.path("tftp");
        std::fs::create_dir(&tree)?;
        for entry in std::fs::read_dir(self.release.dir())? {
            let entry = entry?;
            std::os::unix::fs::symlink(entry.path().canonicalize()?, tree.join(entry.file_name()))?;
        }
        std::fs::write(tree.join("start.ipxe"), script)?;
        self.boot = vec!["-boot".to_owned(), "n".to_owned()];
        Ok(self)
    }

    /// The line by which a config lets these tests in.
    ///
    /// # Errors
    /// It is gone.
    pub fn key(&self) -> Result<String> {
        std::fs::read_to_string(self.path("id_ed25519.pub")).context("the key is gone")
    }

    /// A config that lets these tests in.
    ///
    /// # Errors
    /// The key is gone.
    pub fn open_config(&self) -> Result<Config> {
        Ok(Config::default().key(&self.key()?))
    }

    /// Switches it on.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn start(&self) -> Result<Running<'_>> {
        let boot = self.boots.replace(self.boots.get() + 1);
        let file = |name: &str| self.path(&format!("{name}-{boot}"));
        let ssh = free_port()?;
        let mut network = format!("user,id=net0,hostfwd=tcp:127.0.0.1:{ssh}-:22{}", self.network);
        let mut card = "virtio-net-pci,netdev=net0".to_owned();
        if self.path("tftp").exists() {
            network.push_str(&format!(",tftp={},bootfile=start.ipxe", self.path("tftp").display()));
        } else {
            card.push_str(",romfile=");
        }
        let console = format!(
            "socket,id=console,path={},server=on,wait=off,logfile={}",
            file("keyboard").display(),
            file("console").display()
        );
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-machine", "q35,sata=off,smbus=off,usb=off,vmport=off,graphics=off"])
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1"])
            .args(["-m", &self.memory.to_string(), "-netdev", &network, "-device", &card])
            .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
            .args(["-chardev", &console, "-serial", "chardev:console"])
            .args(["-chardev", &format!("file,id=report,path={}", file("report").display())])
            .args(["-device", "virtserialport,chardev=report,name=org.rmachine.agent.0"])
            .args(&self.boot)
            .args(&self.devices);
        let child = qemu.stdin(Stdio::null()).spawn().context("could not start qemu-system-x86_64")?;
        Ok(Running {
            plain: self,
            qemu: child,
            ssh,
            keyboard: file("keyboard"),
            typist: None,
            console: file("console"),
            report: file("report"),
        })
    }

    /// A file of this machine on the host.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn add(&mut self, words: &[&str]) {
        self.devices.extend(words.iter().map(|word| (*word).to_owned()));
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?.local_addr()?.port())
}

/// The machine under power. Dropping it cuts the power.
pub struct Running<'a> {
    plain: &'a Plain,
    qemu: Child,
    ssh: u16,
    keyboard: PathBuf,
    typist: Option<UnixStream>,
    console: PathBuf,
    report: PathBuf,
}

impl Running<'_> {
    /// What the console shows.
    #[must_use]
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).replace('\r', "")
    }

    /// Types on the console.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        // One connection for all: QEMU forgets what the machine has not read yet when it is closed, and the
        // machine reads sixteen bytes at a time. What the machine says has to be read as well: it waits
        // once the connection is full, and what stands there is in the console's file anyway.
        if self.typist.is_none() {
            let typist = UnixStream::connect(&self.keyboard)?;
            let mut shown = typist.try_clone()?;
            std::thread::spawn(move || std::io::copy(&mut shown, &mut std::io::sink()));
            self.typist = Some(typist);
        }
        self.typist.as_mut().context("there is a keyboard")?.write_all(text.as_bytes())?;
        Ok(())
    }

    /// What it reported so far, one object a line.
    #[must_use]
    pub fn reports(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.report).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The first report of this type (`ready`, `failed`) or stage (`init`, `engine`).
    #[must_use]
    pub fn report(&self, what: &str) -> Option<serde_json::Value> {
        self.reports().into_iter().find(|report| report["type"] == what || report["stage"] == what)
    }

    /// Waits for such a report.
    ///
    /// # Errors
    /// The machine ends before, or does not report it in time; with the end of its console.
    pub fn reached(&mut self, what: &str) -> Result<serde_json::Value> {
        let began = Instant::now();
        loop {
            if let Some(report) = self.report(what) {
                return Ok(report);
            }
            if let Some(status) = self.qemu.try_wait()? {
                bail!("the machine ended ({status}) before it was {what}:\n{}", self.last_words());
            }
            ensure!(began.elapsed() < READY, "not {what} in time:\n{}", self.last_words());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the machine is off by itself, and returns the sentence of its failure.
    ///
    /// # Errors
    /// It stays on, or says nothing.
    pub fn failure(&mut self) -> Result<String> {
        self.ended(READY)?;
        let console = self.console();
        let said = console.lines().find_map(|line| line.split_once("rmachine: failed: "));
        Ok(said.with_context(|| format!("no reason on the console:\n{}", self.last_words()))?.1.to_owned())
    }

    /// Waits until the machine is off by itself.
    ///
    /// # Errors
    /// It stays on.
    pub fn ended(&mut self, limit: Duration) -> Result<()> {
        let began = Instant::now();
        while self.qemu.try_wait()?.is_none() {
            ensure!(began.elapsed() < limit, "it stays on:\n{}", self.last_words());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// `kill -9` of QEMU: the machine has no chance to write anything more.
    ///
    /// # Errors
    /// There is nothing to kill.
    pub fn cut_power(mut self) -> Result<()> {
        self.qemu.kill().and_then(|()| self.qemu.wait()).context("could not cut the power")?;
        Ok(())
    }

    /// Runs a command as `core` with the stock ssh client and returns what it printed.
    ///
    /// # Errors
    /// Any exit code but 0.
    pub fn ssh(&self, command: &str) -> Result<String> {
        self.try_ssh(command)?.stdout_if_ok(command)
    }

    /// The same, whatever the exit code.
    ///
    /// # Errors
    /// There is no ssh client.
    pub fn try_ssh(&self, command: &str) -> Result<Ran> {
        ran(self.client("ssh").args(["-p", &self.ssh.to_string(), "core@127.0.0.1", command]))
    }

    /// Runs a command as `root`.
    ///
    /// # Errors
    /// There is no ssh client.
    pub fn as_root(&self, command: &str) -> Result<Ran> {
        ran(self.client("ssh").args(["-p", &self.ssh.to_string(), "root@127.0.0.1", command]))
    }

    /// Types these lines into a login shell at a terminal of its own, and returns what it showed.
    ///
    /// # Errors
    /// There is no ssh client.
    pub fn session(&self, lines: &str) -> Result<Ran> {
        let typed = self.plain.path("typed");
        std::fs::write(&typed, lines)?;
        let mut command = self.client("ssh");
        command.args(["-tt", "-p", &self.ssh.to_string(), "core@127.0.0.1"]);
        ran(command.stdin(File::open(typed)?))
    }

    /// `scp` or `sftp`, set up to reach this machine as `core@127.0.0.1`.
    #[must_use]
    pub fn copier(&self, program: &str) -> Command {
        let mut command = self.client(program);
        command.args(["-P", &self.ssh.to_string()]);
        command
    }

    fn client(&self, program: &str) -> Command {
        stock_client(program, &self.plain.path("id_ed25519"))
    }

    /// The end of the console, and what was reported: where a boot stands still, and what it said.
    fn last_words(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        let reports: Vec<_> = self.reports().iter().map(ToString::to_string).collect();
        let end = &lines[lines.len().saturating_sub(30)..];
        format!("console:\n{}\nreports:\n{}", end.join("\n"), reports.join("\n"))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
