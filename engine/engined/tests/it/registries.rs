//! Debian's docker-registry in the network of an engine under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::engine::{self, Engine};

/// A registry that runs.
pub(crate) struct Registry {
    process: Child,
    port: u16,
    data: PathBuf,
    log: PathBuf,
}

impl Registry {
    /// Starts one on a port of the engine's loopback, with TLS if there are a certificate and its key.
    pub(crate) fn start(engine: &Engine, port: u16, tls: Option<(&Path, &Path)>) -> Registry {
        let at = |name: &str| engine.dir.path().join(format!("registry-{port}{name}"));
        let (config, log, data) = (at(".yml"), at(".log"), at(""));
        let mut text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            data.display()
        );
        if let Some((certificate, key)) = tls {
            let (certificate, key) = (certificate.display(), key.display());
            text += &format!("  tls:\n    certificate: {certificate}\n    key: {key}\n");
        }
        fs::write(&config, text).expect("the folder is there");
        let written = fs::File::options().create(true).append(true).open(&log).expect("the folder is there");
        let process = Command::new("nsenter")
            .arg(format!("--net={}", engine.net().display()))
            .arg(engine::find("docker-registry").expect("it was there a moment ago"))
            .arg("serve")
            .arg(config)
            .stderr(written.try_clone().expect("a descriptor is free"))
            .stdout(written)
            .spawn()
            .expect("nsenter runs");
        let registry = Registry { process, port, data, log };
        registry.wait_ready();
        registry
    }

    /// Waits until it listens, by the table of its own network namespace.
    fn wait_ready(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        let table = format!("/proc/{}/net/tcp", self.process.id());
        let listens = format!(":{:04X} 00000000:0000 0A", self.port);
        while !fs::read_to_string(&table).is_ok_and(|table| table.contains(&listens)) {
            let log = || fs::read_to_string(&self.log).unwrap_or_default();
            assert!(Instant::now() < end, "the registry does not listen within 30 s: {}", log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// What it was asked for since the last call, by its own log: `METHOD PATH`, without the first greeting.
    pub(crate) fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).expect("it writes a log");
        fs::write(&self.log, "").expect("it is ours");
        let request = |line: &str| {
            let (_, rest) = line.split_once('"')?;
            let (method, path) = rest.split_once(' ')?;
            let path = path.split(' ').next()?;
            (path.starts_with("/v2/") && path != "/v2/").then(|| format!("{method} {path}"))
        };
        text.lines().filter_map(request).collect()
    }

    /// Deletes the content of every layer, so that only what describes images is left.
    pub(crate) fn lose_layers(&self) {
        let line = format!(
            "find {} -path '*/blobs/*' -name data -type f | while read f; do head -c 1 \"$f\" | grep -q '{{' || rm \"$f\"; done",
            self.data.display()
        );
        let done = Command::new("sh").args(["-c", &line]).status().expect("sh runs");
        assert!(done.success(), "the layers could not be deleted");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
