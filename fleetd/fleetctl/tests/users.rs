//! Thirty units in the style of fleet's users go through submit, start, journal, why and destroy: fleetctl,
//! fleetd, the host's own supervisor and a real etcd, on two machines, one of which joined the other.
//!
//! Only `docker` and `etcdctl` are small programs of this test: what they run and keep lies in the
//! machine's folder. Each supervisor has a mount namespace in which these are at their classic paths.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fleet_testbed::{Etcd, eventually, free_port};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const LIMIT: Duration = Duration::from_secs(40);

/// `run` stays until it is told to end; `stop`, `kill` and `rm` tell it.
const DOCKER: &str = r#"#!/bin/bash
dir=MACHINE/containers; mkdir -p $dir; verb=$1; shift; name=; image=
while [ $# -gt 0 ]; do case $1 in
  --name) name=$2; shift 2;; -p|-e|-v|-t|--net) shift 2;; -*) shift;; *) image=$1; break;; esac; done
case $verb in
  pull) case $image in */missing) echo "pull access denied for $image" >&2; exit 1;; esac;;
  run) echo "$name runs $image"; trap 'rm -f "$dir/$name"; exit 0' TERM INT; echo $$ > "$dir/$name"
       while :; do sleep 0.2; done;;
  exec) [ -e "$dir/$image" ] && echo "dump of $image";;
  stop|kill|rm) [ -e "$dir/$image" ] || { echo "No such container: $image" >&2; exit 1; }
       kill "$(cat "$dir/$image")"; for n in 1 2 3 4 5 6 7 8 9 10; do [ -e "$dir/$image" ] || exit 0; sleep 0.2; done;;
esac
"#;

const ETCDCTL: &str = r#"#!/bin/sh
dir=STORE; mkdir -p $dir; file=$dir/$(echo "$2" | tr / _)
case $1 in set) printf '%s\n' "$3" > "$file"; echo "$3";; get) cat "$file";; rm) rm "$file";; esac
"#;

/// A program that was built beside this test; nothing when only this package is tested.
fn built(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let program = test.parent()?.parent()?.join(name);
    if program.exists() {
        return Some(program);
    }
    println!("skipped: {} is not built; test the whole workspace", program.display());
    None
}

struct Machine {
    dir: PathBuf,
    cgroup: PathBuf,
    children: Vec<Child>,
}

struct World {
    machines: Vec<Machine>,
    store: PathBuf,
    _etcd: Etcd,
    _dir: tempfile::TempDir,
}

impl World {
    fn start() -> Option<Self> {
        let (fleetd, supervisor) = (built("fleetd")?, built("hostos-units")?);
        if !Command::new("unshare")
            .args(["-m", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|it| it.success())
        {
            must_run::skip("mount namespaces need root");
            return None;
        }
        let Some(cgroups) = cgroups() else {
            println!("skipped: needs a cgroup v2 that can be written");
            return None;
        };
        let etcd = Etcd::start()?;
        let dir = tempfile::tempdir().expect("a directory");
        let mut world = Self { machines: Vec::new(), store: dir.path().join("keys"), _etcd: etcd, _dir: dir };
        let ports = [free_port(), free_port()];
        for (number, (id, metadata)) in
            [(A, "zone=a,disk=ssd"), (B, "zone=b,disk=hdd")].into_iter().enumerate()
        {
            let machine = Machine::supervised(world._dir.path(), id, &supervisor, &world.store, &cgroups);
            world.machines.push(machine);
            world.join(number, id, ports);
            let endpoint = world._etcd.endpoint().to_owned();
            world.machines[number].start_daemon(&fleetd, &endpoint, id, metadata, ports[number]);
        }
        eventually("both machines are registered", LIMIT, || {
            world.ok(0, &["list-machines", "--no-legend"]).lines().count() == 2
        });
        Some(world)
    }

    /// The first machine begins a cluster, the second joins it with a token.
    fn join(&self, number: usize, id: &str, ports: [u16; 2]) {
        let dir = self.machines[number].dir.join("tls").display().to_string();
        let of_this = ["--dir", &dir, "--id", id, "--name", "127.0.0.1"];
        if number == 0 {
            let begins = self.ok(0, &[&["init", "--cluster", "users"], &of_this[..]].concat());
            assert_eq!(begins, format!("Cluster users begins with manager {id}\n"));
            return;
        }
        let token = self.ok(0, &["token", "worker"]);
        let member = format!("127.0.0.1:{}", ports[0]);
        let joined = self.ok(0, &[&["join", "--token", token.trim()], &of_this[..], &[&member]].concat());
        assert_eq!(joined, format!("Machine {id} joined as worker\n"));
    }

    fn run(&self, machine: usize, args: &[&str]) -> (Option<i32>, String, String) {
        let endpoint = format!("unix://{}", self.machines[machine].dir.join("fleet.sock").display());
        let output = Command::new(env!("CARGO_BIN_EXE_fleetctl"))
            .args(["--request-timeout", "20"])
            .args(args)
            .env("FLEETCTL_ENDPOINT", endpoint)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/users"))
            .output()
            .expect("fleetctl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn ok(&self, machine: usize, args: &[&str]) -> String {
        let (code, out, err) = self.run(machine, args);
        assert_eq!(code, Some(0), "{args:?}: {out}{err}");
        out
    }

    /// Of each unit: where it is, and its states.
    fn states(&self) -> BTreeMap<(String, String), String> {
        let fields = ["list-units", "--full", "--no-legend", "--fields", "unit,machine,active,sub"];
        let cells = |line: &str| {
            line.split('\t').filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let listed = self.ok(0, &fields);
        let rows = listed.lines().map(cells).filter(|row| row.len() == 4);
        rows.map(|row| ((row[0].clone(), row[1][..1].to_owned()), format!("{} {}", row[2], row[3]))).collect()
    }
}

impl Machine {
    fn supervised(parent: &Path, id: &str, supervisor: &Path, store: &Path, cgroups: &Path) -> Self {
        let dir = parent.join(&id[..1]);
        let cgroup = cgroups.join(format!("fleet-users-{}-{}", std::process::id(), &id[..1]));
        std::fs::create_dir(&cgroup).expect("a cgroup");
        for folder in ["usr", "usr.work", "etc", "etc.work", "bin", "units"] {
            std::fs::create_dir_all(dir.join(folder)).expect("a directory");
        }
        let program = |name: &str, text: &str| {
            let path = dir.join("usr").join(name);
            std::fs::write(&path, text).expect("a program");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        };
        program("docker", &DOCKER.replace("MACHINE", &dir.display().to_string()));
        program("etcdctl", &ETCDCTL.replace("STORE", &store.display().to_string()));
        let environment = "COREOS_PRIVATE_IPV4=10.0.0.7\nCOREOS_PUBLIC_IPV4=192.0.2.7\n";
        std::fs::write(dir.join("etc/environment"), environment).expect("writes");
        for name in ["docker.service", "etcd2.service"] {
            let text = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";
            std::fs::write(dir.join("units").join(name), text).expect("writes");
        }
        for name in ["journalctl", "systemctl"] {
            symlink(supervisor, dir.join("bin").join(name)).expect("a link");
        }
        let path = dir.display();
        let script = format!(
            "mount -t overlay o -o lowerdir=/usr/bin,upperdir={path}/usr,workdir={path}/usr.work /usr/bin && \
             mount -t overlay o -o lowerdir=/etc,upperdir={path}/etc,workdir={path}/etc.work /etc && \
             exec {} --below {path} --cgroup {} --start basic.target",
            supervisor.display(),
            cgroup.display()
        );
        let log = std::fs::File::create(dir.join("supervisor.log")).expect("a log");
        let child = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare runs");
        let socket = dir.join("run/units.sock");
        eventually("the supervisor listens", LIMIT, || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        Self { dir, cgroup, children: vec![child] }
    }

    fn start_daemon(&mut self, fleetd: &Path, endpoint: &str, id: &str, metadata: &str, port: u16) {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let log = std::fs::File::create(self.dir.join("fleetd.log")).expect("a log");
        let mut command = Command::new(fleetd);
        command.args(["--etcd-servers", endpoint]);
        for setting in [
            format!("machine_id={id}"),
            "public_ip=127.0.0.1".to_owned(),
            format!("metadata={metadata}"),
            format!("units_socket={}", path("run/units.sock")),
            format!("units_directory={}", path("fleet")),
            format!("listen={},127.0.0.1:{port}", path("fleet.sock")),
            format!("tls_ca_file={}", path("tls/ca.pem")),
            format!("tls_cert_file={}", path("tls/cert.pem")),
            format!("tls_key_file={}", path("tls/key.pem")),
            format!("authority_key_file={}", path("tls/ca-key.pem")),
        ] {
            command.args(["--set", &setting]);
        }
        let programs = format!("{}:{}", path("bin"), std::env::var("PATH").unwrap_or_default());
        let child = command
            .env("PATH", programs)
            .env("UNITS_SOCKET", self.dir.join("run/units.sock"))
            .env("UNITS_JOURNAL", self.dir.join("log/journal"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.children.push(child.expect("fleetd starts"));
        let socket = self.dir.join("fleet.sock");
        eventually("fleetd listens", LIMIT, || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    }

    fn containers(&self) -> Vec<String> {
        let listed = std::fs::read_dir(self.dir.join("containers")).into_iter().flatten().flatten();
        listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["fleetd.log", "supervisor.log"] {
                println!("--- {log}\n{}", std::fs::read_to_string(self.dir.join(log)).unwrap_or_default());
            }
        }
        for child in self.children.iter_mut().rev() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while matches!(child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::write(self.cgroup.join("cgroup.kill"), "1");
        for _ in 0..100 {
            remove_cgroup(&self.cgroup);
            if !self.cgroup.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The host's cgroup v2, if it can be written.
fn cgroups() -> Option<PathBuf> {
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let root = roots.into_iter().find(|path| path.join("cgroup.controllers").exists())?;
    let probe = root.join(format!("fleet-probe-{}", std::process::id()));
    std::fs::create_dir(&probe).ok()?;
    std::fs::remove_dir(&probe).ok()?;
    Some(root)
}

fn remove_cgroup(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(path);
}

/// Unit, machine (`?`: either), what its states begin with, and what its journal says.
const UNITS: [(&str, &str, &str, &str); 33] = [
    ("web@1.service", "?", "active running", "web-1 runs example/web"),
    ("web@2.service", "?", "active running", "web-2 runs example/web"),
    ("web-discovery@1.service", "?", "active running", "{\"host\": \""),
    ("web-discovery@2.service", "?", "active running", "\"port\": 80}"),
    ("web-logger@1.service", "?", "active running", "shipping web@1.service 1"),
    ("redis@1.service", "?", "active running", "redis-1 runs example/redis"),
    ("redis@2.service", "?", "active running", "redis-2 runs example/redis"),
    ("postgres.service", "a", "active running", "postgres runs example/postgres"),
    ("postgres-presence.service", "a", "active running", "10.0.0.7:5432"),
    ("postgres-backup.service", "a", "inactive dead", "dump of postgres"),
    ("chain-a.service", "b", "active running", ""),
    ("chain-b.service", "b", "active running", ""),
    ("chain-c.service", "b", "active running", ""),
    ("chain-d.service", "b", "active running", ""),
    ("either.service", "a", "active running", "either is up"),
    ("legacy.service", "b", "active running", ""),
    ("quoted.service", "a", "active running", "hello there, big world: 100% of "),
    ("pinned.service", "b", "active running", ""),
    ("migrate.service", "?", "active exited", "step two"),
    ("forker.service", "?", "active running", ""),
    ("failing.service", "?", "failed failed", "no configuration"),
    ("flapping.service", "?", "", "up"),
    ("prestart-fails.service", "?", "failed failed", "pull access denied for example/missing"),
    ("deploy-hook.service", "?", "active running", "ready: yes"),
    ("tick.service", "?", "", "tick tick.service"),
    ("tick.timer", "?", "active", ""),
    ("lb.service", "?", "active running", ""),
    ("lb2.service", "?", "active running", ""),
    ("heavy.service", "?", "active running", ""),
    ("slow-stop.service", "?", "active running", ""),
    ("node-exporter.service", "ab", "active running", "node-exporter runs example/exporter"),
    ("ssd-cache.service", "a+", "active running", ""),
    ("prune.service", "ab", "inactive dead", "pruned on"),
];

#[test]
fn units_as_users_write_them_live_and_die() {
    let Some(world) = World::start() else { return };
    for (unit, ..) in UNITS {
        let (code, out, err) = world.run(0, &["submit", unit]);
        assert_eq!(
            (code, out.as_str()),
            (Some(0), format!("Unit {unit} inactive\n").as_str()),
            "{unit}: {err}"
        );
    }
    assert_eq!(world.ok(0, &["list-unit-files", "--no-legend"]).lines().count(), UNITS.len());
    for (unit, machine, ..) in UNITS {
        let started = world.ok(0, &["start", "--wait", "40", unit]);
        let expected = match machine {
            "ab" | "a+" => format!("Triggered global unit {unit} start\n"),
            "a" => format!("Unit {unit} launched on aaaaaaaa.../127.0.0.1\n"),
            "b" => format!("Unit {unit} launched on bbbbbbbb.../127.0.0.1\n"),
            _ => started.clone(),
        };
        assert_eq!(started, expected);
        assert!(started.contains(&format!("nit {unit} ")), "{started}");
    }
    let place = |unit: &str| {
        let states = world.states();
        states.keys().filter(|(name, _)| name == unit).map(|(_, machine)| machine.clone()).collect::<String>()
    };
    for (unit, machine, expected, _) in UNITS {
        let machines: Vec<String> = match machine {
            "ab" => vec!["a".into(), "b".into()],
            "a+" => vec!["a".into()],
            "?" => vec![place(unit)],
            one => vec![one.into()],
        };
        let mut is = BTreeMap::new();
        let shown = || {
            format!(
                "{unit} on {machines:?}: {:?}",
                world.states().get(&(unit.to_owned(), machines[0].clone()))
            )
        };
        eventually(&format!("{unit} is {expected} on {machines:?}"), LIMIT, || {
            is = world.states();
            let of_unit = |machine: &String| is.get(&(unit.to_owned(), machine.clone()));
            machines.iter().all(|it| of_unit(it).is_some_and(|state| state.starts_with(expected)))
        });
        let on = is.keys().filter(|(name, _)| name == unit).count();
        assert_eq!(on, machines.len(), "{}", shown());
    }
    // Sidekicks are where their masters are; what conflicts is apart.
    for (follower, master) in [
        ("web-discovery@1.service", "web@1.service"),
        ("web-logger@1.service", "web-discovery@1.service"),
        ("web-discovery@2.service", "web@2.service"),
        ("tick.timer", "tick.service"),
    ] {
        assert_eq!(place(follower), place(master), "{follower} beside {master}");
    }
    for (one, other) in [
        ("web@1.service", "web@2.service"),
        ("redis@1.service", "redis@2.service"),
        ("lb.service", "lb2.service"),
    ] {
        assert_ne!(place(one), place(other), "{one} apart from {other}");
    }
    // A third of the web tier has no machine, and says so.
    world.ok(0, &["start", "--no-block", "web@3.service"]);
    eventually("it is told why it waits", LIMIT, || {
        world
            .ok(0, &["why", "web@3"])
            .contains("1 conflicts with web@1.service, 1 conflicts with web@2.service")
    });
    world.ok(0, &["destroy", "web@3.service"]);

    for (unit, _, _, says) in UNITS {
        // Asked of the first machine, whichever runs it.
        eventually(&format!("the journal of {unit} says {says:?}"), LIMIT, || {
            world.ok(0, &["journal", "--lines", "50", unit]).contains(says)
        });
        let why = world.ok(0, &["why", unit]);
        assert!(why.starts_with(&format!("{unit}: ")) && why.len() > unit.len() + 5, "{why}");
    }
    assert!(world.ok(0, &["status", "web@1"]).contains("web@1.service"));
    // As systemctl's own: a unit that is not active is told by the code, whichever machine says it.
    let (code, out, err) = world.run(0, &["status", "failing", "web@1"]);
    assert_eq!(code, Some(3), "{out}{err}");
    assert!(out.contains("failing.service") && !out.contains("web@1"), "{out}");
    let of_a = world.ok(0, &["journal", "--machine", "aaaa", "node-exporter"]);
    assert!(of_a.contains("node-exporter runs"), "{of_a}");
    assert!(world.store.join("_services_postgres").exists());

    for (unit, ..) in UNITS {
        assert_eq!(world.ok(0, &["destroy", unit]), format!("Destroyed {unit}\n"));
    }
    assert_eq!(world.ok(0, &["list-unit-files", "--no-legend"]), "");
    eventually("no state is left", LIMIT, || world.states().is_empty());
    for machine in &world.machines {
        eventually("no container is left", LIMIT, || machine.containers().is_empty());
    }
    assert!(!world.store.join("_services_postgres").exists(), "what a unit does last was done");
}
