//! An engine in a network and mount namespace of its own, with its own folders; it leaves nothing behind.
//!
//! A process that only sleeps holds the namespaces, so that an engine that was killed can be started again.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Why a test with docker's client 28 cannot run here.
pub(crate) fn missing() -> Option<String> {
    if let Err(reason) = needs(&["docker", "busybox"]) {
        return Some(reason);
    }
    let version = Command::new("docker").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    if !text.contains("version 28.") {
        return Some(format!("the transcript was made with docker's client 28, this is {}", text.trim()));
    }
    None
}

/// What an engine under test needs, and these programs.
pub(crate) fn needs(programs: &[&str]) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".into());
    }
    let missing = |program: &&&str| find(program).is_none();
    match ["docker", "unshare", "tar", "ip", "mount"].iter().chain(programs).find(missing) {
        Some(program) => Err(format!("no {program} in PATH")),
        None => Ok(()),
    }
}

/// A program in PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.exists())
}

/// A running engine.
pub(crate) struct Engine {
    pub(crate) dir: tempfile::TempDir,
    program: PathBuf,
    /// Besides those that every engine under test gets.
    flags: Vec<String>,
    /// Holds the namespaces.
    holder: Child,
    child: Child,
}

impl Engine {
    /// Starts `program` (engined or dockerd, they take the same flags).
    pub(crate) fn start(program: &Path) -> io::Result<Engine> {
        Engine::start_with(program, &[], "{}")
    }

    /// The same with more flags, and with this daemon.json.
    pub(crate) fn start_with(program: &Path, flags: &[&str], settings: &str) -> io::Result<Engine> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        fs::write(at("daemon.json"), settings)?;
        fs::create_dir(at("exec"))?;
        let script = "ip link set lo up && mount -t tmpfs exec \"$1/exec\" && touch \"$1/held\" && exec sleep infinity";
        let holder = Command::new("unshare")
            .args(["-n", "-m", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .spawn()?;
        let held = wait_for(|| Ok(at("held").exists()));
        let child = held.and_then(|()| launch(&holder, dir.path(), program, &flags));
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                end(holder);
                return Err(error);
            }
        };
        let mut engine = Engine { dir, program: program.to_owned(), flags, holder, child };
        engine.wait_ready()?;
        Ok(engine)
    }

    /// Ends the engine as a power cut would, its containers excepted.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the engine is ours");
        self.child.wait().expect("a killed process ends");
    }

    /// Starts it again after [`Engine::kill`].
    pub(crate) fn start_again(&mut self) -> io::Result<()> {
        self.child = launch(&self.holder, self.dir.path(), &self.program, &self.flags)?;
        self.wait_ready()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its network namespace.
    pub(crate) fn net(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.holder.id()).into()
    }

    /// The mounts in its namespace.
    pub(crate) fn mount_table(&self) -> PathBuf {
        format!("/proc/{}/mountinfo", self.holder.id()).into()
    }

    /// The parent of its containers' cgroups.
    pub(crate) fn cgroup(&self) -> String {
        cgroup_of(self.dir.path())
    }

    /// A program in the engine's network, whose docker talks to the engine. It may take two minutes.
    pub(crate) fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("timeout");
        command.args(["120", "nsenter", &format!("--net=/proc/{}/ns/net", self.holder.id())]).arg(program);
        self.point_at_engine(&mut command);
        command
    }

    /// Runs a line of shell in the engine's namespaces, that of mounts among them.
    pub(crate) fn mounted(&self, line: &str) {
        let holder = self.holder.id().to_string();
        let done = Command::new("nsenter").args(["-t", &holder, "-n", "-m", "--", "sh", "-c", line]).output();
        let done = done.expect("nsenter runs");
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn point_at_engine(&self, command: &mut Command) {
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_API_VERSION", "1.41")
            .env("DOCKER_BUILDKIT", "0")
            .env("HOME", self.dir.path())
            .stdin(Stdio::null());
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
        self.shell_with(line, None)
    }

    /// The same with the programs of a folder before those in PATH.
    pub(crate) fn shell_with(&self, line: &str, programs: Option<&Path>) -> Output {
        let mut command = Command::new("timeout");
        command.args(["60", "sh", "-c", line]);
        if let Some(programs) = programs {
            let usual = std::env::var_os("PATH").unwrap_or_default();
            let all = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&usual));
            command.env("PATH", std::env::join_paths(all).expect("no folder of ours has a colon"));
        }
        self.point_at_engine(&mut command);
        command.output().expect("timeout and sh are there")
    }

    /// The same, which must go well; what it printed, without the line end.
    pub(crate) fn must(&self, line: &str) -> String {
        let done = self.shell(line);
        let [out, err] = [done.stdout, done.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        assert!(done.status.success(), "{line}: {err}{out}\n--- engine\n{}", self.log());
        out.trim_end().to_owned()
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

fn cgroup_of(dir: &Path) -> String {
    format!("rmtest-{}", dir.file_name().unwrap_or_default().to_string_lossy().trim_matches('.'))
}

/// Runs the program in the namespaces that `holder` holds.
fn launch(holder: &Child, dir: &Path, program: &Path, flags: &[String]) -> io::Result<Child> {
    let path = format!(
        "{}:/usr/sbin:/sbin:{}",
        program.parent().unwrap_or(Path::new("/")).display(),
        path_with_elders(program)
    );
    let log = fs::File::options().create(true).append(true).open(dir.join("log"))?;
    let at = |name: &str| dir.join(name);
    Command::new("nsenter")
        .args(["-t", &holder.id().to_string(), "-n", "-m", "--"])
        .arg(program)
        .arg("--data-root")
        .arg(at("root"))
        .arg("--exec-root")
        .arg(at("exec"))
        .arg("-p")
        .arg(at("pid"))
        .args(["-H", &format!("unix://{}", at("sock").display())])
        .arg("--config-file")
        .arg(at("daemon.json"))
        .args(["--bip", "172.30.0.1/16", "--cgroup-parent", &cgroup_of(dir)])
        .args(flags)
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

fn wait_for(mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if done()? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other("not ready within 30 s"))
}

fn end(mut child: Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
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
        self.end_program();
        // The namespaces go with their last process.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Engine {
    fn end_program(&mut self) {
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
