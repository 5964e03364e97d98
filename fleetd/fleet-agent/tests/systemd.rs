//! The manager against a real systemd, the first process of namespaces of its own. Everything that it
//! could write to is private to these: /tmp, /var, /etc and /run above all.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fleet_agent::{ManagerError, SystemdManager, UnitManager, UnitStatus};
use fleet_unit::UnitName;

const LIMIT: Duration = Duration::from_secs(20);

/// Private folders, only the targets that a boot needs, nothing that cleans up or configures.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /sys/fs/cgroup
umount /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir /run/keep
mount --bind UNITS /run/keep
for folder in /var /tmp /etc/systemd/system; do mount -t tmpfs tmpfs $folder; done
# The manager outside and systemd inside call the units' directory by the same name.
mkdir -p UNITS
mount --bind /run/keep UNITS
mkdir /tmp/lib
for unit in basic sysinit shutdown sockets timers paths slices multi-user umount final; do
    cp -a /usr/lib/systemd/system/$unit.target /tmp/lib/
done
mount --bind /tmp/lib /usr/lib/systemd/system
mount -t tmpfs -o ro tmpfs /usr/lib/tmpfiles.d
export container=docker
exec /lib/systemd/systemd --unit=basic.target --log-target=null --show-status=0 --default-standard-output=null >/dev/null 2>&1
"#;

struct Systemd {
    child: Child,
    cgroup: PathBuf,
    inside: Vec<String>,
    dir: tempfile::TempDir,
}

impl Systemd {
    /// Nothing, and a line saying so, where it cannot run.
    fn start() -> Option<Self> {
        let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.join("cgroup.controllers").exists());
        let cgroup = root.map(|root| root.join(format!("fleet-systemd-{}", std::process::id())));
        let usable = |path: &PathBuf| std::fs::create_dir(path).is_ok();
        let Some(cgroup) =
            cgroup.filter(|path| usable(path) && PathBuf::from("/lib/systemd/systemd").exists())
        else {
            println!("skipped: needs root, systemd and a cgroup v2 that can be written");
            return None;
        };
        let dir = tempfile::tempdir().expect("a directory");
        let units = dir.path().join("units");
        std::fs::create_dir(&units).expect("a directory");
        let script = dir.path().join("boot");
        std::fs::write(&script, BOOT.replace("UNITS", &units.display().to_string())).expect("writes");
        let command = format!(
            "echo 0 > {}/cgroup.procs; exec unshare -pmCiun --fork --mount-proc --kill-child sh {}",
            cgroup.display(),
            script.display()
        );
        let child =
            Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).spawn().expect("unshare runs");
        let mut systemd = Self { child, cgroup, inside: Vec::new(), dir };
        systemd.wait();
        Some(systemd)
    }

    fn wait(&mut self) {
        let began = Instant::now();
        let id = self.child.id();
        loop {
            let children =
                std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            if let Some(pid) = children.split_whitespace().next() {
                self.inside = ["nsenter", "-t", pid, "-m", "-p", "-C"].map(str::to_owned).to_vec();
                let shown = Command::new("nsenter")
                    .args(&self.inside[1..])
                    .args(["systemctl", "is-active", "basic.target"])
                    .stderr(Stdio::null())
                    .output();
                if shown.is_ok_and(|output| output.stdout == b"active\n") {
                    return;
                }
            }
            assert!(began.elapsed() < LIMIT, "systemd did not start");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // The first process of the namespace takes all others with it.
        let _ = Command::new("kill").args(["-9", self.inside.get(2).map_or("", String::as_str)]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let began = Instant::now();
        while self.cgroup.exists() && began.elapsed() < LIMIT {
            remove_cgroups(&self.cgroup);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn remove_cgroups(path: &std::path::Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(path);
}

fn name(text: &str) -> UnitName {
    text.parse().expect("a valid name")
}

async fn until(manager: &mut SystemdManager, unit: &UnitName, load: &str, active: &str, sub: &str) {
    let expected = UnitStatus { load: load.into(), active: active.into(), sub: sub.into() };
    let began = Instant::now();
    loop {
        let states = manager.states(std::slice::from_ref(unit)).await.expect("states");
        if states == [expected.clone()] {
            return;
        }
        assert!(began.elapsed() < LIMIT, "{unit} is {states:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn units_are_loaded_started_stopped_and_unloaded_by_a_real_systemd() {
    let Some(systemd) = Systemd::start() else { return };
    let new = || SystemdManager::new(&systemd.dir.path().join("units"), false).behind(&systemd.inside);
    let mut manager = new();
    let (a, b) = (name("a@1.service"), name("b.service"));
    let text = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n[X-Fleet]\nGlobal=true\n";
    manager.load(&a, text).await.expect("loads");
    manager.load(&b, "[Service]\nExecStart=/bin/false\n").await.expect("loads");
    until(&mut manager, &a, "loaded", "inactive", "dead").await;
    let mut watching = new();
    watching.changed().await.expect("the first look tells");
    manager.start(&a, 0).await.expect("starts");
    tokio::time::timeout(LIMIT, watching.changed()).await.expect("in time").expect("it changed");
    until(&mut manager, &a, "loaded", "active", "running").await;
    manager.start(&b, 0).await.expect("starts");
    until(&mut manager, &b, "loaded", "failed", "failed").await;
    manager.stop(&a).await.expect("stops");
    until(&mut manager, &a, "loaded", "inactive", "dead").await;
    manager.start(&a, 0).await.expect("starts");
    for unit in [&a, &b] {
        manager.unload(unit).await.expect("unloads");
        until(&mut manager, unit, "not-found", "inactive", "dead").await;
    }
    let refused = manager.start(&name("none.service"), 0).await.expect_err("there is none");
    assert!(matches!(&refused, ManagerError::Refused(reason) if reason.contains("not found")), "{refused}");
}

#[tokio::test]
async fn a_machine_without_systemd_is_told_from_one_that_refuses() {
    let dir = tempfile::tempdir().expect("a directory");
    let nowhere = ["/nonexistent/systemctl".to_owned()];
    let mut manager = SystemdManager::new(dir.path(), false).behind(&nowhere);
    let failed = manager.start(&name("a.service"), 0).await.expect_err("nobody there");
    assert!(matches!(failed, ManagerError::Unreachable { .. }), "{failed}");
}
