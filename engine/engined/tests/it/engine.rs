//! An engine in a network and mount namespace of its own, with its own folders; it leaves nothing behind.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Why a test cannot run here.
pub(crate) fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".into());
    }
    for program in ["docker", "busybox", "unshare", "tar", "ip", "mount"] {
        if find(program).is_none() {
            return Some(format!("no {program} in PATH"));
        }
    }
    let version = Command::new("docker").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    if !text.contains("version 28.") {
        return Some(format!("the transcript was made with docker's client 28, this is {}", text.trim()));
    }
    None
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.exists())
}

/// A running engine.
pub(crate) struct Engine {
    pub(crate) dir: tempfile::TempDir,
    child: Child,
}

impl Engine {
    /// Starts `program` (engined or dockerd, they take the same flags).
    pub(crate) fn start(program: &Path) -> io::Result<Engine> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        fs::write(at("daemon.json"), "{}")?;
        fs::create_dir(at("exec"))?;
        let log = fs::File::create(at("log"))?;
        let path = format!(
            "{}:/usr/sbin:/sbin:{}",
            program.parent().unwrap_or(Path::new("/")).display(),
            path_with_elders(program)
        );
        let script = "ip link set lo up && mount -t tmpfs exec \"$1/exec\" && cd / && exec \"$2\" --data-root \"$1/root\" \
            --exec-root \"$1/exec\" -p \"$1/pid\" -H \"unix://$1/sock\" --config-file \"$1/daemon.json\" --bip 172.30.0.1/16";
        let child = Command::new("unshare")
            .args(["-n", "-m", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(dir.path())
            .arg(program)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let mut engine = Engine { dir, child };
        engine.wait_ready()?;
        Ok(engine)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn wait_ready(&mut self) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if self.shell("docker version").status.success() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("the engine ended with {status}: {}", self.log())));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(io::Error::other(format!("the engine did not answer within 30 s: {}", self.log())))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Runs a line of shell whose `docker` talks to this engine.
    pub(crate) fn shell(&self, line: &str) -> Output {
        Command::new("timeout")
            .args(["60", "sh", "-c", line])
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_API_VERSION", "1.41")
            .env("DOCKER_BUILDKIT", "0")
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .output()
            .expect("timeout and sh are there")
    }

    /// Imports busybox:latest.
    pub(crate) fn import_busybox(&self) -> io::Result<()> {
        let tree = self.dir.path().join("busybox");
        for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
            fs::create_dir_all(tree.join(dir))?;
        }
        let busybox = find("busybox").ok_or_else(|| io::Error::other("no busybox"))?;
        fs::copy(busybox, tree.join("bin/busybox"))?;
        let applets = Command::new("busybox").arg("--list").output()?;
        for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|a| *a != "busybox") {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet))?;
        }
        fs::write(
            tree.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        )?;
        fs::write(tree.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
        let line = format!(
            "tar -C {} -c . | docker import -c 'CMD [\"sh\"]' -c 'ENV PATH=/bin' - busybox",
            tree.display()
        );
        let done = self.shell(&line);
        if done.status.success() {
            Ok(())
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()))
        }
    }
}

/// dockerd finds its containerd in the bin beside its sbin.
fn path_with_elders(program: &Path) -> String {
    let beside = program.parent().and_then(Path::parent).map(|p| p.join("bin")).unwrap_or_default();
    format!("{}:{}", beside.display(), std::env::var("PATH").unwrap_or_default())
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Everything that still runs is ours.
        self.shell("docker ps -aq | xargs -r docker rm -f");
        let group = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"));
        // The group is the one that start() made; it may have ended by itself.
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGTERM);
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        // It is gone now.
        let _ = self.child.wait();
    }
}
