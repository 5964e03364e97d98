//! The two supervisors: ours as a child process, systemd as PID 1 of its own namespaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct World {
    /// Where unit files go.
    pub(crate) units: PathBuf,
    /// The journal, of ours.
    pub(crate) journal: PathBuf,
    control: Vec<String>,
    environment: Vec<(String, String)>,
    child: Child,
    cgroup: PathBuf,
    _dir: tempfile::TempDir,
}

/// The cgroup v2 of this host, if it can be written.
pub(crate) fn cgroup_root() -> Option<PathBuf> {
    let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .map(PathBuf::from)
        .into_iter()
        .find(|p| p.join("cgroup.controllers").exists())?;
    let probe = root.join(format!("units-probe-{}", std::process::id()));
    fs::create_dir(&probe).ok()?;
    let _ = fs::remove_dir(&probe);
    Some(root)
}

impl World {
    /// Our supervisor with a cgroup of its own; nothing where there can be none.
    pub(crate) fn ours(tag: &str) -> Option<Self> {
        Self::ours_with(tag, &[])
    }

    /// The same with further arguments.
    pub(crate) fn ours_with(tag: &str, arguments: &[&str]) -> Option<Self> {
        let Some(root) = cgroup_root() else {
            eprintln!("skipped: needs root and a cgroup v2 that can be written");
            return None;
        };
        let cgroup = root.join(format!("units-{tag}-{}", std::process::id()));
        fs::create_dir_all(&cgroup).expect("a cgroup");
        let dir = tempfile::tempdir().expect("temp dir");
        let program = env!("CARGO_BIN_EXE_hostos-units");
        let child = Command::new(program)
            .args([
                "--below".as_ref(),
                dir.path(),
                "--cgroup".as_ref(),
                &cgroup,
                "--start".as_ref(),
                Path::new("basic.target"),
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the supervisor starts");
        let journal = dir.path().join("log/journal");
        let world = Self {
            units: dir.path().join("units"),
            journal: journal.clone(),
            control: vec![program.into(), "systemctl".into()],
            environment: vec![
                ("UNITS_SOCKET".into(), dir.path().join("run/units.sock").display().to_string()),
                ("UNITS_JOURNAL".into(), journal.display().to_string()),
            ],
            child,
            cgroup,
            _dir: dir,
        };
        world.ready();
        Some(world)
    }

    /// systemd as PID 1 of new pid, mount, cgroup, ipc and uts namespaces.
    pub(crate) fn systemd() -> Option<Self> {
        let root = cgroup_root()?;
        let cgroup = root.join(format!("units-elder-{}", std::process::id()));
        fs::create_dir_all(&cgroup).expect("a cgroup");
        let dir = tempfile::tempdir().expect("temp dir");
        let script = dir.path().join("boot");
        fs::write(&script, include_str!("elder-boot.sh")).expect("write");
        let command = format!(
            "echo 0 > {}/cgroup.procs; exec unshare -pmCiu --fork --mount-proc --kill-child sh {}",
            cgroup.display(),
            script.display()
        );
        let child = Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).spawn().expect("unshare");
        let start = Instant::now();
        let pid = loop {
            let path = format!("/proc/{0}/task/{0}/children", child.id());
            let pid = fs::read_to_string(path)
                .ok()
                .and_then(|text| text.split_whitespace().next().map(str::to_owned));
            if let Some(pid) = pid.filter(|pid| {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "systemd")
            }) {
                break pid;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "systemd did not start");
            std::thread::sleep(Duration::from_millis(50));
        };
        let control = ["nsenter", "-t", &pid, "-m", "-p", "-C", "systemctl", "--no-ask-password"]
            .map(str::to_owned)
            .to_vec();
        let world = Self {
            units: PathBuf::from(format!("/proc/{pid}/root/etc/systemd/system")),
            journal: PathBuf::new(),
            control,
            environment: Vec::new(),
            child,
            cgroup,
            _dir: dir,
        };
        world.ready();
        Some(world)
    }

    fn ready(&self) {
        let start = Instant::now();
        while self.property("basic.target", "ActiveState") != "active" {
            assert!(start.elapsed() < Duration::from_secs(20), "the supervisor did not get ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.units.with_file_name("run/units.sock")
    }

    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Exit code and standard output of systemctl.
    pub(crate) fn systemctl(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(&self.control[0]);
        command.args(&self.control[1..]).args(args).envs(self.environment.iter().cloned());
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("systemctl runs");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn property(&self, unit: &str, key: &str) -> String {
        self.systemctl(&["show", "--value", "-p", key, unit]).1.trim().to_owned()
    }

    pub(crate) fn write_unit(&self, name: &str, text: &str) {
        fs::create_dir_all(&self.units).expect("a folder for units");
        fs::write(self.units.join(name), text).expect("write");
    }

    /// SIGKILL to the supervisor only, as if it had crashed.
    pub(crate) fn crash(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ =
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).stderr(Stdio::null()).status();
        let start = Instant::now();
        let ours = !self.journal.as_os_str().is_empty();
        while ours && start.elapsed() < Duration::from_secs(12) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        for _ in 0..100 {
            if remove_tree(&self.cgroup) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn remove_tree(path: &Path) -> bool {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(path).is_ok() || !path.exists()
}
