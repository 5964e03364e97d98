//! One real etcd.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{eventually, free_port};

/// An etcd that ends with this value.
pub struct Etcd {
    child: Child,
    data: tempfile::TempDir,
    endpoint: String,
}

impl Etcd {
    /// Starts one and waits until it serves; nothing, and a line saying so, where none is installed.
    ///
    /// # Panics
    /// When it does not serve within 30 s.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_at("127.0.0.1", &[])
    }

    /// The same at another address, its command behind these words (`ip netns exec NAME`).
    ///
    /// # Panics
    /// When it does not serve within 30 s.
    #[must_use]
    pub fn start_at(address: &str, behind: &[String]) -> Option<Self> {
        let data = tempfile::tempdir().expect("a temporary directory");
        let (port, peer_port) = (free_port(), free_port());
        let (client, peer) = (format!("http://{address}:{port}"), format!("http://{address}:{peer_port}"));
        let log = std::fs::File::create(data.path().join("log")).expect("a file");
        let child = crate::command_behind(behind, "etcd")
            .args(["--name", "one", "--data-dir"])
            .arg(data.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let Ok(child) = child else {
            must_run::skip("no etcd on this machine");
            return None;
        };
        let etcd = Self { child, data, endpoint: client };
        eventually("etcd serves", Duration::from_secs(30), || {
            std::fs::read_to_string(etcd.log())
                .is_ok_and(|log| log.contains("ready to serve client requests"))
        });
        Some(etcd)
    }

    /// Its address for clients.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.data.path().join("log")
    }

    /// It stands still and answers nothing, as a store does whose disk or network is gone.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// It goes on where it stood.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "could not send SIG{name} to etcd");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
