//! Clusters to be measured: etcd's or ours, on free loopback ports, with their data on disk. Gone when dropped.

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Why a cluster could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    #[error("could not prepare `{}`", .path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("could not start `{program}`; is it on the path?")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{program}` does not serve within {limit:?}; its log is {}", .log.display())]
    NotServing { program: String, limit: Duration, log: PathBuf },
}

struct Member {
    program: String,
    args: Vec<String>,
    log: PathBuf,
    client: String,
    child: Option<Child>,
}

/// A cluster of one program.
pub(crate) struct Servers {
    members: Vec<Member>,
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Servers {
    /// Starts `count` members of `program` with their data below `dir`.
    pub(crate) fn start(program: &str, count: usize, dir: &Path) -> Result<Self, ServersError> {
        let prepare = |source| ServersError::Prepare { path: dir.into(), source };
        std::fs::create_dir_all(dir).map_err(prepare)?;
        let mut urls = Vec::new();
        for _ in 0..count {
            let (client, peer) = (free_port().map_err(prepare)?, free_port().map_err(prepare)?);
            urls.push((format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}")));
        }
        let cluster: Vec<String> =
            urls.iter().enumerate().map(|(at, (_, peer))| format!("m{at}={peer}")).collect();
        let cluster = cluster.join(",");
        let mut members = Vec::new();
        for (at, (client, peer)) in urls.iter().enumerate() {
            let data = dir.join(format!("m{at}")).to_string_lossy().into_owned();
            let name = format!("m{at}");
            let args = [
                ("--name", name.as_str()),
                ("--data-dir", &data),
                ("--listen-client-urls", client),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", &cluster),
                ("--log-level", "error"),
                ("--quota-backend-bytes", "8589934592"),
            ];
            let args = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]);
            members.push(Member {
                program: program.to_owned(),
                args: args.collect(),
                log: dir.join(format!("m{at}.log")),
                client: client.clone(),
                child: None,
            });
        }
        let mut servers = Self { members };
        for at in 0..count {
            servers.boot(at)?;
        }
        servers.wait()?;
        Ok(servers)
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client.clone()).collect()
    }

    /// Starts a member again on its data.
    pub(crate) fn boot(&mut self, at: usize) -> Result<(), ServersError> {
        let member = &mut self.members[at];
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&member.log)
            .map_err(|source| ServersError::Prepare { path: member.log.clone(), source })?;
        let child = Command::new(&member.program)
            .args(&member.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|source| ServersError::Start { program: member.program.clone(), source })?;
        member.child = Some(child);
        Ok(())
    }

    /// kill -9.
    pub(crate) fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.members[at].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The first member whose process has ended, and its log.
    pub(crate) fn ended(&mut self) -> Option<(usize, PathBuf)> {
        self.members.iter_mut().enumerate().find_map(|(at, member)| {
            let ended = member.child.as_mut()?.try_wait().is_ok_and(|status| status.is_some());
            ended.then(|| (at, member.log.clone()))
        })
    }

    /// Bytes of all files of the members' data.
    pub(crate) fn stored(&self) -> u64 {
        fn below(dir: &Path) -> u64 {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let sizes = entries.map(|entry| match entry.metadata() {
                Ok(found) if found.is_dir() => below(&entry.path()),
                Ok(found) => found.len(),
                Err(_) => 0,
            });
            sizes.sum()
        }
        self.members.iter().map(|member| below(&member.log.with_extension(""))).sum()
    }

    fn wait(&self) -> Result<(), ServersError> {
        let limit = Duration::from_secs(30);
        let deadline = Instant::now() + limit;
        for member in &self.members {
            let address = member.client.trim_start_matches("http://");
            while TcpStream::connect(address).is_err() {
                if Instant::now() > deadline {
                    let (program, log) = (member.program.clone(), member.log.clone());
                    return Err(ServersError::NotServing { program, limit, log });
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Memory of the largest member: resident, and its own share, in MiB.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let of = |member: &Member| {
            let pid = member.child.as_ref()?.id();
            let mut text = String::new();
            std::fs::File::open(format!("/proc/{pid}/smaps_rollup")).ok()?.read_to_string(&mut text).ok()?;
            let field = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name))?;
                line.split_whitespace().nth(1)?.parse::<f64>().ok()
            };
            Some((field("Rss:")? / 1024.0, field("Pss:")? / 1024.0))
        };
        let all = self.members.iter().filter_map(of);
        all.fold((0.0, 0.0), |most, one| if one.0 > most.0 { one } else { most })
    }

    /// Syncs of the log so far, summed over the members, as they tell themselves.
    pub(crate) async fn syncs(&self) -> u64 {
        let mut total = 0;
        for member in &self.members {
            let url = format!("{}/metrics", member.client);
            let limit = Duration::from_secs(5);
            let Ok((_, _, text)) = kv_client::fetch::fetch(http::Method::GET, &url, None, None, limit).await
            else {
                continue;
            };
            let name = "etcd_disk_wal_fsync_duration_seconds_count ";
            let count = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            total += count.unwrap_or(0.0) as u64;
        }
        total
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
    }
}
