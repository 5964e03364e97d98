//! A cluster of daemons.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fleet_testbed::{Answer, Deed, Etcd, Network, Supervisor, call, command_behind, eventually};
use serde_json::{Value, json};

/// Longest time for what takes one look of scheduler and agent; these machines are slow and shared.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// A unit that runs until it is stopped.
pub(crate) const PLAIN: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// A store and some machines.
pub(crate) struct World {
    pub(crate) etcd: Etcd,
    pub(crate) machines: Vec<Machine>,
    _dir: tempfile::TempDir,
}

/// A machine: its supervisor, and a daemon that may be dead.
pub(crate) struct Machine {
    pub(crate) id: String,
    pub(crate) supervisor: Supervisor,
    pub(crate) dir: PathBuf,
    endpoint: String,
    settings: Vec<String>,
    /// The words that its daemon's command stands behind.
    behind: Vec<String>,
    daemon: Option<Child>,
}

impl World {
    /// So many machines, all registered; nothing where there is no etcd.
    pub(crate) fn start(machines: usize) -> Option<Self> {
        Self::start_with(machines, |_, _| Vec::new())
    }

    /// With `key=value` settings of each machine, by its number (from 1) and directory.
    pub(crate) fn start_with(
        machines: usize,
        settings: impl Fn(usize, &Path) -> Vec<String>,
    ) -> Option<Self> {
        Self::start_in(Etcd::start()?, machines, |_| Vec::new(), settings)
    }

    /// With machines and store in network namespaces; nothing where these cannot be made.
    pub(crate) fn start_with_network(machines: usize, network: &Network) -> Option<Self> {
        let etcd = Etcd::start_at(Network::HUB, &network.behind_hub())?;
        Self::start_in(etcd, machines, |number| network.behind(number), |_, _| Vec::new())
    }

    fn start_in(
        etcd: Etcd,
        machines: usize,
        behind: impl Fn(usize) -> Vec<String>,
        settings: impl Fn(usize, &Path) -> Vec<String>,
    ) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut world = Self { etcd, machines: Vec::new(), _dir: dir };
        for number in 1..=machines {
            let dir = world._dir.path().join(format!("m{number}"));
            std::fs::create_dir(&dir).expect("a directory");
            std::fs::write(dir.join("fleet.conf"), "").expect("a configuration");
            let mut machine = Machine {
                id: format!("m{number}"),
                supervisor: Supervisor::start(&dir.join("units.sock")),
                endpoint: world.etcd.endpoint().to_owned(),
                settings: settings(number, &dir),
                behind: behind(number),
                dir,
                daemon: None,
            };
            machine.start();
            world.machines.push(machine);
        }
        eventually("all machines are registered", Duration::from_secs(30), || {
            world.get("/machines")["machines"].as_array().is_some_and(|all| all.len() == machines)
        });
        Some(world)
    }

    /// The first machine whose daemon lives.
    pub(crate) fn any(&self) -> &Machine {
        self.machines.iter().find(|machine| machine.daemon.is_some()).expect("some daemon lives")
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.any().call("GET", path, "");
        if answer.status == 200 { answer.json() } else { Value::Null }
    }

    /// Submits a unit and wishes it a state.
    pub(crate) fn put(&self, name: &str, text: &str, state: &str) {
        let body = json!({ "desiredState": state, "options": options(text) }).to_string();
        let answer = self.any().put_json(&format!("/units/{name}"), &body);
        assert!(matches!(answer.status, 201 | 204), "{name}: {answer:?}");
    }

    /// Wishes a unit another state.
    pub(crate) fn wish(&self, name: &str, state: &str) {
        let body = json!({ "desiredState": state }).to_string();
        let answer = self.any().put_json(&format!("/units/{name}"), &body);
        assert_eq!(answer.status, 204, "{name}: {answer:?}");
    }

    /// The machines whose supervisors run the unit, as indices.
    pub(crate) fn runners(&self, unit: &str) -> Vec<usize> {
        let runs = |machine: &Machine| machine.supervisor.running().contains(unit);
        self.machines.iter().enumerate().filter(|(_, it)| runs(it)).map(|(index, _)| index).collect()
    }

    /// Waits until exactly one machine runs the unit, and tells which.
    pub(crate) fn runner(&self, unit: &str) -> usize {
        eventually(&format!("{unit} runs on one machine"), SOON, || self.runners(unit).len() == 1);
        self.runners(unit)[0]
    }

    /// Waits until each of these units runs on one machine.
    pub(crate) fn all_run(&self, units: &BTreeSet<String>) {
        eventually("all units run", Duration::from_secs(20), || {
            units.iter().all(|unit| self.runners(unit).len() == 1)
        });
    }

    /// What the API says of a unit on a machine.
    pub(crate) fn state_is(&self, unit: &str, machine: &str, active: &str) -> bool {
        let page = self.get(&format!("/state?unitName={unit}&machineID={machine}"));
        page["states"][0]["systemdActiveState"] == active
    }
}

impl Machine {
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("fleet.sock")
    }

    /// Starts the daemon and waits for its socket.
    pub(crate) fn start(&mut self) {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log"));
        let bin = format!("{}:{}", path("bin"), std::env::var("PATH").unwrap_or_default());
        let mut command = command_behind(&self.behind, env!("CARGO_BIN_EXE_fleetd"));
        command.args(["--etcd-servers", &self.endpoint, "--config", &path("fleet.conf")]);
        for setting in [
            format!("machine_id={}", self.id),
            format!("public_ip=10.0.0.{}", &self.id[1..]),
            format!("units_socket={}", path("units.sock")),
            format!("units_directory={}", path("units")),
            format!("listen={}", path("fleet.sock")),
        ]
        .iter()
        .chain(&self.settings)
        {
            command.args(["--set", setting]);
        }
        let child = command.env("PATH", bin).stdout(Stdio::null()).stderr(log.expect("a log")).spawn();
        self.daemon = Some(child.expect("the daemon starts"));
        let socket = self.socket();
        eventually("the daemon listens", SOON, || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    }

    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it lives");
        daemon.kill().expect("it can be killed");
        daemon.wait().expect("it ends");
    }

    /// Ends the daemon as an operator does.
    pub(crate) fn terminate(&mut self) {
        let mut daemon = self.daemon.take().expect("it lives");
        let sent = Command::new("kill").arg(daemon.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()));
        let began = Instant::now();
        while daemon.try_wait().expect("it can be waited for").is_none() {
            assert!(began.elapsed() < SOON, "the daemon of {} does not end", self.id);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Its daemon stands still, as on a machine that is suspended.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// It goes on where it stood.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let daemon = self.daemon.as_ref().expect("it lives");
        let sent = Command::new("kill").args([&format!("-{name}"), &daemon.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        call(&self.socket(), method, &format!("/fleet/v1{path}"), &[], body)
    }

    pub(crate) fn put_json(&self, path: &str, body: &str) -> Answer {
        let headers = ["Content-Type: application/json"];
        call(&self.socket(), "PUT", &format!("/fleet/v1{path}"), &headers, body)
    }

    /// What its supervisor did since then.
    pub(crate) fn deeds_since(&self, then: Instant) -> Vec<Deed> {
        self.supervisor.deeds().into_iter().filter(|deed| deed.at > then).collect()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if std::thread::panicking() {
            println!("--- {}\n{}\n{:#?}", self.id, self.log(), self.supervisor.deeds());
        }
    }
}

/// The options of a simple unit file, in the API's shape.
pub(crate) fn options(text: &str) -> Vec<Value> {
    let mut section = "";
    let mut options = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((name, value)) = line.split_once('=') {
            options.push(json!({ "section": section, "name": name, "value": value }));
        }
    }
    options
}
