//! A store of three members on loopback, for one simulation: `kvd`, or a real etcd by the same flags.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const MEMBERS: usize = 3;
const LIMIT: Duration = Duration::from_secs(60);

/// The members; they end, and their data goes, with this value.
pub(crate) struct Store {
    members: Vec<Child>,
    endpoints: Vec<String>,
    dir: tempfile::TempDir,
}

impl Store {
    /// Starts them and waits until each takes connections.
    pub(crate) fn start(program: &Path, data: Option<&Path>) -> Result<Self> {
        let dir = match data {
            Some(parent) => tempfile::tempdir_in(parent)?,
            None => tempfile::tempdir()?,
        };
        let ports: Vec<(u16, u16)> =
            (0..MEMBERS).map(|_| Ok((free_port()?, free_port()?))).collect::<std::io::Result<_>>()?;
        let cluster: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(number, (_, peer))| format!("s{number}=http://127.0.0.1:{peer}"))
            .collect();
        let cluster = cluster.join(",");
        let mut store = Self { members: Vec::new(), endpoints: Vec::new(), dir };
        for (number, (client, peer)) in ports.iter().enumerate() {
            let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let log = std::fs::File::create(store.log(number))?;
            let child = Command::new(program)
                .args(["--name", &format!("s{number}"), "--data-dir"])
                .arg(store.dir.path().join(format!("s{number}")))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &cluster, "--initial-cluster-state", "new"])
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .with_context(|| format!("could not start {}", program.display()))?;
            store.members.push(child);
            store.endpoints.push(client);
        }
        store.wait(&ports)?;
        Ok(store)
    }

    fn wait(&mut self, ports: &[(u16, u16)]) -> Result<()> {
        let began = Instant::now();
        for (number, (client, _)) in ports.iter().enumerate() {
            while std::net::TcpStream::connect(("127.0.0.1", *client)).is_err() {
                let ended = self.members[number].try_wait()?;
                if ended.is_some() || began.elapsed() > LIMIT {
                    let log = std::fs::read_to_string(self.log(number)).unwrap_or_default();
                    let last: Vec<&str> = log.lines().rev().take(5).collect();
                    bail!("member {number} of the store does not serve: {}", last.join(" | "));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    fn log(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("s{number}.log"))
    }

    /// Addresses for clients.
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
