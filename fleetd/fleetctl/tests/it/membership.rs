//! What fleetctl says while a cluster begins, a machine joins, leaves, and another is removed.

use std::path::Path;
use std::process::Command;

use fleet_testbed::{Etcd, Supervisor, eventually, free_port};

use crate::world::{LIMIT, PLAIN, Printed, printed};

/// A machine: its directory, the port of its API, and its supervisor.
struct Machine {
    dir: tempfile::TempDir,
    id: &'static str,
    port: u16,
    supervisor: Supervisor,
}

impl Machine {
    fn new(id: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let supervisor = Supervisor::start(&dir.path().join("units.sock"));
        Self { dir, id, port: free_port(), supervisor }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Its daemon, in a thread; it waits for certificates if it has none.
    fn serve(&self, etcd: &Etcd) {
        let tls = |name: &str| self.path(&format!("tls/{name}"));
        let mut args = vec!["fleetd".into(), "--etcd-servers".into(), etcd.endpoint().into()];
        for setting in [
            format!("machine_id={}", self.id),
            "public_ip=127.0.0.1".into(),
            format!("units_socket={}", self.path("units.sock")),
            format!("units_directory={}", self.path("units")),
            format!("listen={},127.0.0.1:{}", self.path("fleet.sock"), self.port),
            format!("tls_ca_file={}", tls("ca.pem")),
            format!("tls_cert_file={}", tls("cert.pem")),
            format!("tls_key_file={}", tls("key.pem")),
            format!("authority_key_file={}", tls("ca-key.pem")),
        ] {
            args.extend(["--set".into(), setting.into()]);
        }
        std::thread::spawn(move || fleetd::run(args));
    }

    fn run(&self, args: &[&str]) -> Printed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetctl"));
        let endpoint = format!("unix://{}", self.path("fleet.sock"));
        command.args(args).env("FLEETCTL_ENDPOINT", endpoint).current_dir(self.dir.path());
        printed(&mut command)
    }

    fn ok(&self, args: &[&str]) -> String {
        let printed = self.run(args);
        assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}");
        printed.out
    }
}

fn has_no_identity(dir: &Path) -> bool {
    ["identity.pem", "cert.pem", "key.pem", "ca.pem"].iter().all(|name| !dir.join("tls").join(name).exists())
}

#[test]
fn a_machine_joins_by_its_token_leaves_and_another_is_removed() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, two, three) = (Machine::new("m1"), Machine::new("m2"), Machine::new("m3"));
    let begun = one.run(&["init", "--cluster", "demo", "--dir", "tls", "--id", "m1", "--name", "m1.demo"]);
    assert_eq!((begun.code, begun.out.as_str()), (Some(0), "Cluster demo begins with manager m1\n"));
    assert!(begun.err.starts_with("hint: fleetd goes on by itself when "), "{begun:?}");
    let again = one.run(&["init", "--dir", "tls", "--id", "m1"]);
    assert_eq!(again.code, Some(1));
    assert!(again.err.starts_with("error: this machine is a member already: tls/identity.pem is there"));
    for machine in [&one, &two, &three] {
        machine.serve(&etcd);
    }
    eventually("the first manager serves", LIMIT, || one.run(&["list-machines"]).code == Some(0));

    let token = one.ok(&["token"]);
    let token = token.trim();
    assert!(token.starts_with("SWMTKN-1-") && one.ok(&["token", "manager"]) != one.ok(&["token", "worker"]));
    let at = format!("127.0.0.1:{}", one.port);
    let join = |machine: &Machine, token: &str| {
        machine.run(&["join", "--token", token, "--dir", "tls", "--id", machine.id, &at])
    };
    let joined = join(&two, token);
    assert_eq!((joined.code, joined.out.as_str()), (Some(0), "Machine m2 joined as worker\n"), "{joined:?}");
    let twice = join(&two, token);
    assert!(twice.code == Some(1) && twice.err.contains("`fleetctl leave` first"), "{twice:?}");
    // A rotated token lets nobody in; the new one does.
    let rotated = one.ok(&["token", "--rotate"]);
    let refused = join(&three, token);
    let expected = format!("error: {at} refused: the join token was rotated and is no longer valid: ");
    assert!(refused.code == Some(1) && refused.err.starts_with(&expected), "{refused:?}");
    assert_eq!(join(&three, rotated.trim()).out, "Machine m3 joined as worker\n");
    let lonely = two.run(&["join", "--token", token, "--dir", "other", "--id", "m2", "127.0.0.1:1"]);
    assert!(lonely.err.starts_with("error: no member could be asked: 127.0.0.1:1: "), "{lonely:?}");
    let patient =
        ["join", "--token", token, "--dir", "other", "--id", "m2", "--keep-asking", "--timeout", "3"];
    let patient = two.run(&[&patient[..], &["127.0.0.1:1"]].concat());
    assert!(patient.code == Some(1) && patient.err.matches("; asking again\n").count() >= 1, "{patient:?}");

    eventually("all are there", LIMIT, || {
        one.run(&["list-machines", "--no-legend", "--full"]).out.lines().count() == 3
    });
    let listed = one.ok(&["list-members"]);
    let rows: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split('\t').filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(rows[0], ["MACHINE", "ROLE", "CERTIFICATE UNTIL", "NAMES"]);
    let ids: Vec<[&str; 2]> = rows[1..].iter().map(|row| [row[0], row[1]]).collect();
    assert_eq!(ids, [["m1", "manager"], ["m2", "worker"], ["m3", "worker"]]);
    assert!(rows[1][3].split(',').any(|name| name == "m1.demo"), "{listed}");
    assert!(rows[1..].iter().all(|row| row[2].ends_with('Z')), "{listed}");
    let members: serde_json::Value =
        serde_json::from_str(&one.ok(&["list-members", "--format", "json"])).expect("JSON");
    assert_eq!(members[1]["machineID"], "m2");

    // It leaves with its units, and forgets who it was.
    std::fs::write(one.path("a.service"), format!("{PLAIN}[X-Fleet]\nMachineID=m2\n")).expect("writes");
    std::fs::write(one.path("b.service"), PLAIN).expect("writes");
    one.ok(&["start", "a.service"]);
    assert_eq!(two.ok(&["leave", "--dir", "tls"]), "Machine m2 left\n");
    assert!(has_no_identity(two.dir.path()));
    eventually("it is in no list", LIMIT, || !one.ok(&["list-machines", "--full"]).contains("m2"));
    assert!(!one.ok(&["list-members"]).contains("m2"));
    assert!(two.supervisor.running().is_empty());
    assert!(one.ok(&["why", "a"]).contains("m2"), "{}", one.ok(&["why", "a"]));
    one.ok(&["destroy", "a.service"]);

    // One that lives is not removed by mistake.
    let refused = one.run(&["remove", "m3"]);
    assert_eq!(refused.code, Some(1));
    let expected = "error: machine m3 is alive: run `fleetctl leave` on it, \
                    or force it out with `fleetctl remove --force m3` (409)\n";
    assert_eq!(refused.err, expected);
    one.ok(&["start", "b.service"]);
    assert_eq!(one.ok(&["remove", "--force", "m3"]), "Machine m3 removed\n");
    eventually("what it ran runs on", LIMIT, || {
        three.supervisor.running().is_empty() && one.supervisor.running().contains("b.service")
    });
    let unknown = one.run(&["remove", "m9"]);
    assert_eq!((unknown.code, unknown.err.as_str()), (Some(1), "error: machine does not exist (404)\n"));
}
