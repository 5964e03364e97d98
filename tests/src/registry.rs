//! Debian's own image registry on loopback, and a small image to put in it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Workstation, eventually, ran};

/// A registry that ends when it is dropped.
pub struct Registry {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Registry {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// There is no `docker-registry` (`cargo xtask setup --elders` fetches it), or it does not start.
    pub fn start() -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let dir = tempfile::Builder::new().prefix("rmachine-registry-").tempdir()?;
        let config = dir.path().join("config.yml");
        let data = dir.path().join("data");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
                 http:\n  addr: 127.0.0.1:{port}\n",
                data.display()
            ),
        )?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().context("no docker-registry: `cargo xtask setup --elders`")?;
        let registry = Self { process, port, dir };
        eventually("the registry listens", Duration::from_secs(20), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })?;
        Ok(registry)
    }

    /// Its address, as a machine on the user network sees it.
    #[must_use]
    pub fn from_machine(&self) -> String {
        format!("10.0.2.2:{}", self.port)
    }

    /// Brings a busybox image into it under this name, by way of the machine's engine, which forgets
    /// the image again. Returns the image's whole name.
    ///
    /// # Errors
    /// What docker says.
    pub fn fill(&self, here: &Workstation, machine: &str, name: &str) -> Result<String> {
        let image = format!("{}/{name}", self.from_machine());
        here.docker(machine, &["import", &self.root_filesystem()?.to_string_lossy(), &image])?;
        here.docker(machine, &["push", &image])?;
        here.docker(machine, &["rmi", &image])?;
        Ok(image)
    }

    /// Busybox under all its names, as a tar archive.
    fn root_filesystem(&self) -> Result<PathBuf> {
        let root = self.dir.path().join("root");
        let bin = root.join("bin");
        for dir in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(root.join(dir))?;
        }
        let names = ran(Command::new("busybox").arg("--list"))?.stdout_if_ok("busybox --list")?;
        let program = ran(Command::new("sh").args(["-c", "command -v busybox"]))?.stdout_if_ok("busybox")?;
        std::fs::copy(program.trim(), bin.join("busybox"))?;
        for name in names.lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", bin.join(name))?;
        }
        let archive = self.dir.path().join("root.tar");
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-C"]).arg(&root).arg("-cf").arg(&archive).arg(".");
        ran(&mut tar)?.stdout_if_ok("tar")?;
        Ok(archive)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
