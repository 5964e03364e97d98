//! A runtime with a busybox root, for one test.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine_runtime::spec::{Mounts, Namespaces, Process, Rootfs, Spec};
use engine_runtime::{
    Chunk, Container, Exit, Resources, Runtime, RuntimeConfig, RuntimeError, ShimProgram, Streams,
};

pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) parent: String,
    next: AtomicU32,
}

/// What Docker gives a container.
pub(crate) use engine_shim::caps::DEFAULT as CAPABILITIES;

/// `None`, with the reason printed, where containers cannot be made.
pub(crate) fn rig() -> Option<Rig> {
    if !engine_shim::sys::is_root() {
        must_run::skip("needs root");
        return None;
    }
    if !Path::new("/bin/busybox").exists() {
        must_run::skip("needs /bin/busybox");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    make_root(&dir.path().join("lower"));
    static RIGS: AtomicU32 = AtomicU32::new(0);
    let parent = format!("rmtest-{}-{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed));
    let runtime = new_runtime(dir.path(), &parent);
    Some(Rig { dir, runtime, parent, next: AtomicU32::new(1) })
}

pub(crate) fn new_runtime(dir: &Path, parent: &str) -> Runtime {
    let config = RuntimeConfig {
        state_dir: dir.join("state"),
        shim: ShimProgram::File(env!("CARGO_BIN_EXE_engine-shim").into()),
        cgroup_parent: parent.into(),
    };
    Runtime::new(config).unwrap()
}

fn make_root(root: &Path) {
    for dir in ["bin", "etc", "tmp", "root", "usr", "var"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let list = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n")
        .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nwww:x:33:\naudio:x:29:web\n").unwrap();
}

impl Rig {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A spec as engined would make it for `docker run busybox ARGS`, with an
    /// overlay of its own.
    pub(crate) fn spec(&self, args: &[&str]) -> Spec {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{number:064x}");
        let layer = |name: &str| {
            let path = self.path(&format!("{number}-{name}"));
            std::fs::create_dir(&path).unwrap();
            path
        };
        let capabilities: Vec<String> = CAPABILITIES.map(String::from).to_vec();
        let process = Process {
            args: args.iter().map(ToString::to_string).collect(),
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            seccomp: engine_runtime::default_filter(&capabilities),
            capabilities,
            ..Process::default()
        };
        Spec {
            id,
            rootfs: Rootfs::Overlay {
                lower: vec![self.path("lower")],
                upper: layer("upper"),
                work: layer("work"),
                volatile: false,
            },
            process,
            hostname: "testhost".into(),
            namespaces: Namespaces::default(),
            standard_mounts: Mounts::default(),
            masked_paths: [
                "/proc/acpi",
                "/proc/kcore",
                "/proc/keys",
                "/proc/timer_list",
                "/proc/scsi",
                "/sys/firmware",
            ]
            .map(String::from)
            .to_vec(),
            readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
                .map(String::from)
                .to_vec(),
            ..Spec::default()
        }
    }

    /// `sh -c SCRIPT`
    pub(crate) fn shell(&self, script: &str) -> Spec {
        self.spec(&["sh", "-c", script])
    }

    pub(crate) async fn prepare(&self, spec: &mut Spec) -> Result<Container, RuntimeError> {
        self.prepare_limited(spec, &Resources::default()).await
    }

    pub(crate) async fn prepare_limited(
        &self,
        spec: &mut Spec,
        limits: &Resources,
    ) -> Result<Container, RuntimeError> {
        spec.cgroup = self.runtime.make_cgroup(&spec.id, limits)?.spec();
        let prepared = self.runtime.prepare(spec).await;
        if prepared.is_err() {
            self.runtime.remove(&spec.id).await?;
        }
        prepared
    }

    /// Runs it to its end: output of both streams and the exit.
    pub(crate) async fn run(&self, mut spec: Spec) -> Result<Outcome, RuntimeError> {
        let container = self.prepare(&mut spec).await?;
        self.run_prepared(container).await
    }

    pub(crate) async fn run_prepared(&self, container: Container) -> Result<Outcome, RuntimeError> {
        let mut stream = container.attach(Streams::OUTPUT).await?;
        let started = container.start().await;
        if let Err(error) = started {
            container.wait().await;
            self.runtime.remove(container.id()).await?;
            return Err(error);
        }
        let outcome = collect(&mut stream.output).await;
        assert_eq!(container.wait().await, outcome.exit);
        self.runtime.remove(container.id()).await?;
        Ok(outcome)
    }
}

pub(crate) async fn collect(output: &mut engine_runtime::OutputStream) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        let chunk =
            tokio::time::timeout(Duration::from_secs(60), output.next()).await.expect("no end").unwrap();
        match chunk {
            Chunk::Stdout(bytes) => outcome.stdout.extend(bytes),
            Chunk::Stderr(bytes) => outcome.stderr.extend(bytes),
            Chunk::Exit(exit) => {
                outcome.exit = exit;
                return outcome;
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit: Exit,
}

impl Outcome {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Drop for Rig {
    /// The parents of the cgroups made here are empty now, or a test failed.
    fn drop(&mut self) {
        let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
        let roots = hierarchies.flatten().map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
        for root in roots {
            let parent = root.join(&self.parent);
            for _ in 0..100 {
                let _ = std::fs::remove_dir(parent.join("engine-shims"));
                match std::fs::remove_dir(&parent) {
                    Err(error)
                        if error.kind() != std::io::ErrorKind::NotFound && !std::thread::panicking() =>
                    {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    _ => break,
                }
            }
        }
    }
}
