//! Docker's own Python clients against ours: the SDK by `tests/clients`, docker-compose by the projects beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::engine::{self, Engine};

/// The unpacked packages of Debian that hold the SDK and docker-compose.
fn packages() -> Option<PathBuf> {
    let program = engine::find("docker-compose")?;
    let packages = program.parent()?.parent()?.join("lib/python3/dist-packages");
    packages.join("docker").is_dir().then_some(packages)
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Debian's Python with the clients' packages; in the engine's network, so that bridges can be reached.
fn python(engine: &Engine, packages: &Path) -> Command {
    let mut command = engine.inside("/usr/bin/python3");
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1").args(["-W", "ignore"]);
    command
}

/// Starts an engine with busybox, unless something is missing here.
fn set_up() -> Option<(Engine, PathBuf)> {
    let packages = engine::needs(&["busybox", "docker-compose", "nsenter"]).and_then(|()| {
        packages().ok_or_else(|| "docker-compose is there, but its Python packages are not beside it".into())
    });
    let packages = match packages {
        Ok(packages) => packages,
        Err(reason) => {
            must_run::skip(&reason);
            return None;
        }
    };
    let engine = Engine::start(Path::new(env!("CARGO_BIN_EXE_engined"))).expect("the engine starts");
    engine.import_busybox().expect("busybox is imported");
    Some((engine, packages))
}

fn run_suite(module: &str) {
    let Some((engine, packages)) = set_up() else { return };
    let done = python(&engine, &packages)
        .args(["-m", "unittest", module])
        .current_dir(clients())
        .output()
        .expect("python3 runs");
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{text}\n--- engine\n{}", engine.log());
    assert!(text.contains("\nRan "), "no test was found: {text}");
}

#[test]
fn the_sdk_lives_with_our_containers() {
    run_suite("test_life");
}

#[test]
fn the_sdk_reads_our_streams() {
    run_suite("test_streams");
}

#[test]
fn the_sdk_handles_our_images() {
    run_suite("test_images");
}

#[test]
fn the_sdk_handles_our_networks() {
    run_suite("test_networks");
}

#[test]
fn hostile_archives_stay_inside() {
    run_suite("test_attacks");
}

/// docker-compose in a project's folder.
struct Project<'a> {
    engine: &'a Engine,
    packages: PathBuf,
    folder: PathBuf,
}

impl Project<'_> {
    /// What it printed, to stdout and to stderr; it must go well.
    fn compose(&self, words: &[&str]) -> [String; 2] {
        let program = engine::find("docker-compose").expect("it was there a moment ago");
        let done = python(self.engine, &self.packages)
            .arg(program)
            .args(["-p", "proj"])
            .args(words)
            .current_dir(&self.folder)
            .output()
            .expect("python3 runs");
        let text = [done.stdout, done.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        assert!(
            done.status.success(),
            "docker-compose {words:?}: {text:?}\n--- engine\n{}",
            self.engine.log()
        );
        text
    }

    fn must(&self, words: &[&str]) -> String {
        self.compose(words).concat()
    }

    /// What a program in a service printed.
    fn exec(&self, words: &[&str]) -> String {
        let [out, _] = self.compose(&[&["exec", "-T"], words].concat());
        out.trim().to_owned()
    }

    /// What a shell in the engine's network prints.
    fn shell(&self, line: &str) -> String {
        let done = self.engine.inside("sh").args(["-c", line]).output().expect("sh runs");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

#[test]
fn compose_runs_a_project_with_everything() {
    let Some((engine, packages)) = set_up() else { return };
    let project = Project { engine: &engine, packages, folder: clients().join("gated") };
    project.must(&["up", "-d"]);
    let listed = project.must(&["ps"]);
    assert!(listed.contains("Up (healthy)") && listed.contains("0.0.0.0:8081->80/tcp"), "{listed}");
    assert_eq!(project.exec(&["web", "cat", "/built"]), "built");
    assert_eq!(project.exec(&["web", "cat", "/data/kept"]), "kept");
    let pinged = project.exec(&["web", "ping", "-c1", "-W5", "database"]);
    assert!(pinged.contains("1 packets received"), "{pinged}");
    assert_eq!(
        project.shell("wget -qO- http://127.0.0.1:8081/ || busybox wget -qO- http://127.0.0.1:8081/"),
        "built"
    );
    let before = project.must(&["ps", "-q"]);
    let again = project.must(&["up", "-d"]);
    assert_eq!(again.matches("is up-to-date").count(), 2, "{again}");
    assert_eq!(project.must(&["ps", "-q"]), before, "a second up changed something");
    let logs = project.must(&["logs", "--tail=5", "db"]);
    assert!(logs.contains("database is ready"), "{logs}");
    project.must(&["restart", "-t", "0", "web"]);
    project.must(&["stop", "-t", "0"]);
    assert!(project.must(&["ps"]).contains("Exit 137"));
    project.must(&["down", "-v", "--rmi", "local"]);
    for (what, line) in [
        ("containers", "docker ps -aq"),
        ("volumes", "docker volume ls -q"),
        ("networks", "docker network ls -q --filter type=custom"),
    ] {
        let left = engine.shell(line);
        assert!(left.stdout.is_empty(), "{what} are left: {}", String::from_utf8_lossy(&left.stdout));
    }
}

#[test]
fn compose_balances_by_links() {
    let Some((engine, packages)) = set_up() else { return };
    let project = Project { engine: &engine, packages, folder: clients().join("linked") };
    project.must(&["up", "-d"]);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        seen.insert(project.shell("busybox wget -qO- http://127.0.0.1:8082/cgi-bin/next"));
    }
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen, ["web1", "web2", "web3"]);
    assert_eq!(project.must(&["up", "-d"]).matches("is up-to-date").count(), 4);
    let logs = project.must(&["logs", "web1"]);
    assert!(logs.contains("web1 serves"), "{logs}");
    project.must(&["down", "-v", "-t", "0"]);
}
