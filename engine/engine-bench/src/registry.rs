//! Debian's docker-registry in an engine's network. Two of them may serve one folder.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::engine::Engine;

/// Loopback, so that engines speak plain HTTP with it.
pub(crate) const ADDRESS: &str = "127.0.0.1:5055";

/// Ends with the guard.
pub(crate) struct Registry(Child);

impl Registry {
    pub(crate) fn start(engine: &Engine, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("data"))?;
        let config = dir.join("config.yml");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {ADDRESS}\n",
                dir.join("data").display()
            ),
        )?;
        let log = File::create(dir.join("log"))?;
        let child = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", engine.pid()))
            .args(["docker-registry", "serve"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("could not run nsenter; is util-linux there?")?;
        let mut registry = Self(child);
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if engine.in_network(|| Ok(TcpStream::connect(ADDRESS).is_ok()))? {
                return Ok(registry);
            }
            if let Some(status) = registry.0.try_wait()? {
                let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
                bail!("docker-registry ended with {status}: {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("docker-registry does not listen")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It holds nothing that must be finished.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
