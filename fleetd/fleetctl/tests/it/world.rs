//! One machine: a daemon in a thread, an etcd, a supervisor that keeps account.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fleet_testbed::{Etcd, Supervisor, eventually};

pub(crate) const ID: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
pub(crate) const PLAIN: &str = "[Unit]\nDescription=sleeps\n\n[Service]\nExecStart=/bin/sleep infinity\n";

pub(crate) struct World {
    _etcd: Etcd,
    pub(crate) supervisor: Supervisor,
    pub(crate) dir: tempfile::TempDir,
}

/// What a run printed.
#[derive(Debug, PartialEq)]
pub(crate) struct Printed {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// One machine; nothing where there is no etcd.
    pub(crate) fn start() -> Option<Self> {
        let etcd = Etcd::start()?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let supervisor = Supervisor::start(&dir.path().join("units.sock"));
        let mut args = vec!["fleetd".into(), "--etcd-servers".into(), etcd.endpoint().into()];
        for setting in [
            format!("machine_id={ID}"),
            "public_ip=10.0.0.1".into(),
            "metadata=zone=a,disk=ssd,ram=1024".into(),
            format!("units_socket={}", path("units.sock")),
            format!("units_directory={}", path("units")),
            format!("listen={}", path("fleet.sock")),
        ] {
            args.extend(["--set".into(), setting.into()]);
        }
        std::thread::spawn(move || fleetd::run(args));
        let world = Self { _etcd: etcd, supervisor, dir };
        eventually("the machine is registered", LIMIT, || {
            world.run(&["list-machines", "--no-legend"]).out.contains("10.0.0.1")
        });
        Some(world)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetctl"));
        let endpoint = format!("unix://{}", self.dir.path().join("fleet.sock").display());
        command.args(args).env("FLEETCTL_ENDPOINT", endpoint).current_dir(self.dir.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Printed {
        printed(&mut self.command(args))
    }

    /// Runs what must succeed, and tells what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let printed = self.run(args);
        assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}");
        printed.out
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    }
}

pub(crate) fn printed(command: &mut Command) -> Printed {
    let output = command.output().expect("fleetctl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}
