//! The manager against a real systemd, the first process of namespaces of its own, over its private
//! socket and over a real message bus. Everything that it could write to is private to these: /tmp, /var,
//! /etc and /run above all.
//!
//! systemd takes nobody at its private socket whose process it cannot see, so each story is told by this
//! program run again inside.

use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
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
mkdir /tmp/lib/sockets.target.wants /tmp/lib/multi-user.target.wants
printf '[Socket]\nListenStream=/run/dbus/system_bus_socket\n' >/tmp/lib/dbus.socket
cat >/tmp/lib/dbus.service <<'UNIT'
[Service]
ExecStart=/usr/bin/dbus-daemon --config-file=/tmp/bus.conf --address=systemd: --nofork --nopidfile --systemd-activation
UNIT
cat >/tmp/bus.conf <<'CONF'
<busconfig><type>system</type><auth>EXTERNAL</auth><listen>unix:path=/run/dbus/other</listen>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
CONF
if [ -x /usr/bin/dbus-daemon ]; then
    for folder in sockets:dbus.socket multi-user:dbus.service; do
        ln -s ../${folder#*:} /tmp/lib/${folder%:*}.target.wants/
    done
fi
mount --bind /tmp/lib /usr/lib/systemd/system
mount -t tmpfs -o ro tmpfs /usr/lib/tmpfiles.d
export container=docker
exec /lib/systemd/systemd --unit=multi-user.target --log-target=null --show-status=0 --default-standard-output=null >/dev/null 2>&1
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
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let cgroup = root.map(|root| root.join(format!("fleet-systemd-{}-{number}", std::process::id())));
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
                    .args(["systemctl", "is-active", "multi-user.target"])
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

/// Set inside, to the directory of the units.
const INSIDE: &str = "FLEET_SYSTEMD_UNITS";

/// Tells the story of this test inside.
fn with_systemd<F: Future<Output = ()>>(test: &str, story: impl FnOnce(PathBuf) -> F) {
    if let Some(units) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(story(units.into()));
    }
    let Some(systemd) = Systemd::start() else { return };
    let units = systemd.dir.path().join("units");
    // Wherever this program lies, inside it may be hidden.
    let program = units.join("test");
    std::fs::copy(std::env::current_exe().expect("its own path"), &program).expect("copies");
    let told = Command::new("nsenter")
        .args(&systemd.inside[1..])
        .arg(&program)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, &units)
        .output()
        .expect("nsenter runs");
    let said = [told.stdout, told.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(told.status.success() && said[0].contains("1 passed"), "{}", said.concat());
}

#[test]
fn units_are_run_by_a_real_systemd_over_its_private_socket() {
    with_systemd("units_are_run_by_a_real_systemd_over_its_private_socket", async |units| {
        units_are_run(|| SystemdManager::new(&units, false)).await;
    });
}

#[test]
fn units_are_run_by_a_real_systemd_over_the_message_bus() {
    if !std::path::Path::new("/usr/bin/dbus-daemon").exists() {
        must_run::skip("needs dbus-daemon");
        return;
    }
    with_systemd("units_are_run_by_a_real_systemd_over_the_message_bus", async |units| {
        let new = || SystemdManager::on_bus(&units, std::path::Path::new("/run/dbus/system_bus_socket"));
        // systemd comes to the bus in its own time.
        let began = Instant::now();
        while new().states(&[name("a.service")]).await.is_err() {
            assert!(began.elapsed() < LIMIT, "systemd is not on the bus");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        units_are_run(new).await;
    });
}

async fn units_are_run(new: impl Fn() -> SystemdManager) {
    let mut manager = new();
    let (a, b) = (name("a@1.service"), name("b.service"));
    let text = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n[X-Fleet]\nGlobal=true\n";
    manager.load(&a, text).await.expect("loads");
    manager.load(&b, "[Service]\nExecStart=/bin/false\n").await.expect("loads");
    until(&mut manager, &a, "loaded", "inactive", "dead").await;
    let mut watching = new();
    watching.changed().await.expect("the first look tells");
    let quiet = tokio::time::timeout(Duration::from_secs(2), watching.changed()).await;
    assert!(quiet.is_err(), "nothing changed: {quiet:?}");
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
    manager.unload(&a).await.expect("what is gone may go again");
    let refused = manager.start(&name("none.service"), 0).await.expect_err("there is none");
    assert!(matches!(&refused, ManagerError::Refused(reason) if reason.contains("not found")), "{refused}");
}

#[test]
fn a_unit_has_stopped_when_it_was_unloaded() {
    with_systemd("a_unit_has_stopped_when_it_was_unloaded", has_stopped);
}

async fn has_stopped(units: PathBuf) {
    let mut manager = SystemdManager::new(&units, false);
    let slow = name("slow.service");
    let mark = units.join("stopped");
    let text = format!(
        "[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=/bin/true\nExecStop=/bin/sh -c 'sleep 2; touch {}'\n",
        mark.display()
    );
    manager.load(&slow, &text).await.expect("loads");
    manager.start(&slow, 0).await.expect("starts");
    until(&mut manager, &slow, "loaded", "active", "exited").await;
    assert!(!mark.exists());
    manager.unload(&slow).await.expect("unloads");
    assert!(mark.exists(), "it was still stopping");
}

#[test]
fn a_systemd_that_begins_anew_is_reached_again() {
    with_systemd("a_systemd_that_begins_anew_is_reached_again", begins_anew);
}

async fn begins_anew(units: PathBuf) {
    let mut manager = SystemdManager::new(&units, false);
    let a = name("a.service");
    manager.load(&a, "[Service]\nExecStart=/bin/sleep infinity\n").await.expect("loads");
    manager.start(&a, 0).await.expect("starts");
    manager.changed().await.expect("the first look tells");
    let anew = Command::new("systemctl").arg("daemon-reexec").status();
    assert!(anew.expect("systemctl runs").success());
    // It hangs up; whoever listened is told so, or of a change before that, and listens again.
    let began = Instant::now();
    while tokio::time::timeout(LIMIT, manager.changed()).await.expect("in time").is_ok() {
        assert!(began.elapsed() < LIMIT, "systemd did not hang up");
    }
    let began = Instant::now();
    while manager.changed().await.is_err() {
        assert!(began.elapsed() < LIMIT, "systemd is not back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until(&mut manager, &a, "loaded", "active", "running").await;
    manager.unload(&a).await.expect("unloads");
}

#[tokio::test]
async fn a_machine_without_systemd_is_told_from_one_that_refuses() {
    let dir = tempfile::tempdir().expect("a directory");
    let nowhere = dir.path().join("private");
    let mut manager = SystemdManager::on_bus(dir.path(), &nowhere);
    let failed = manager.start(&name("a.service"), 0).await.expect_err("nobody there");
    assert!(matches!(failed, ManagerError::Unreachable { .. }), "{failed}");
}
