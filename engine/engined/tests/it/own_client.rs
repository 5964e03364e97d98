//! The engine's own client is held against the stock one: it performs the golden script, and must print
//! what the transcript has.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::engine::{self, Engine};
use crate::golden::{CLIENT, perform, run_all, wanted};

/// Verbs that the own client does not have, and flags of verbs that it has.
const ABSENT: [&str; 8] = ["builder", "manifest", "node", "plugin", "search", "service", "stack", "swarm"];

/// Lines in which the two differ, and why.
const DIFFERS: [(&str, &str); 4] = [
    ("docker version", "each names itself"),
    ("{{json .HostConfig}}", "the stock client leaves out what its types do not know"),
    ("docker network rm", "the stock client adds a line that only repeats the exit code"),
    ("docker cp /nosuch", "the stock client writes two slashes"),
];

/// Beside the engine, where cargo puts the programs of a workspace.
fn program() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_engined")).with_file_name("engine-cli");
    program.exists().then_some(program)
}

fn is_absent(line: &str) -> bool {
    let has =
        |verb: &&str| line.contains(&format!("docker {verb} ")) || line.ends_with(&format!("docker {verb}"));
    ABSENT.iter().any(has)
}

/// The stock client's advice to use another builder, which is not for this one.
fn without_advice(outcome: &str) -> String {
    const ADVICE: [&str; 5] = [
        "! DEPRECATED: The legacy builder",
        "!   BuildKit is currently disabled",
        "!   environment-variable.",
        "!   Install the buildx component",
        "!   https://docs.docker.com/go/buildx/",
    ];
    let mut kept = Vec::new();
    let mut advised = false;
    for line in outcome.trim_end().lines() {
        let is_advice = ADVICE.iter().any(|start| line.starts_with(start));
        // An empty line ends it.
        let ends = advised && line.trim_end() == "!";
        if !(is_advice || ends) {
            kept.push(line);
        }
        advised = is_advice;
    }
    kept.join("\n")
}

/// In JSON the order of keys means nothing.
fn in_any_order(outcome: &str) -> String {
    let sorted = |line: &str| {
        let mut tokens: Vec<&str> = line.split(['{', '}', '[', ']', ',', ' ']).collect();
        tokens.sort_unstable();
        tokens.join(" ")
    };
    outcome
        .lines()
        .map(|line| if line.contains("{\"") { sorted(line) } else { line.to_owned() } + "\n")
        .collect()
}

/// A folder in which `docker` is the own client; nothing if it is not built.
fn programs() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(program) = program() else {
        must_run::skip("engine-cli is not built: cargo build -p engine-cli");
        return None;
    };
    symlink(program, folder.path().join("docker")).expect("the folder is new");
    Some(folder)
}

/// An engine with busybox.
fn engine() -> Engine {
    let engine = Engine::start(Path::new(env!("CARGO_BIN_EXE_engined"))).expect("the engine starts");
    engine.import_busybox().expect("busybox is imported");
    engine
}

#[test]
fn the_own_client_prints_what_the_stock_client_prints() {
    if let Some(reason) = engine::missing() {
        return println!("skipped: {reason}");
    }
    let Some(folder) = programs() else { return };
    let engine = Path::new(env!("CARGO_BIN_EXE_engined"));
    let own = |engine: &Engine, line: &str| perform(engine, line, Some(folder.path()));
    let outcomes = run_all(engine, &CLIENT, &own, is_absent);
    let wanted = wanted(&CLIENT).into_iter().filter(|(line, _)| !is_absent(line));
    let mut wrong = String::new();
    for ((step, outcome), (_, wanted)) in outcomes.iter().zip(wanted) {
        let may_differ = DIFFERS.iter().any(|(start, _)| step.line.contains(start));
        let wanted = without_advice(&wanted);
        if in_any_order(&wanted) != in_any_order(outcome.trim_end()) && !may_differ {
            let _ = writeln!(wrong, "$ {}\n--- stock\n{wanted}\n--- own\n{outcome}", step.line);
        }
    }
    assert!(outcomes.len() >= 150, "only {} lines were tried", outcomes.len());
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn signals_to_the_client_reach_the_container() {
    if let Err(reason) = engine::needs(&["busybox"]) {
        return must_run::skip(&reason);
    }
    let Some(folder) = programs() else { return };
    let engine = engine();
    // What systemd does to a unit whose ExecStart is `docker run`.
    let unit = "docker run --name sig busybox sh -c 'trap \"echo got it; exit 3\" TERM; echo up; while :; do sleep 0.1; done' >out &
        for n in $(seq 100); do grep -q up out && break; sleep 0.1; done; kill -TERM $!; wait $!; echo \"[$?]\"; cat out";
    let unit = format!("cd {}; {unit}", engine.dir.path().display());
    let done = engine.shell_with(&unit, Some(folder.path()));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "[3]\nup\ngot it\n");
}

#[test]
fn a_reader_that_has_had_enough_ends_the_client_quietly() {
    if let Err(reason) = engine::needs(&["busybox"]) {
        return must_run::skip(&reason);
    }
    let Some(folder) = programs() else { return };
    let engine = engine();
    engine.must("docker run --name long busybox seq 100000");
    for line in ["docker info | true", "docker logs long | head -n 1 >/dev/null", "docker --help | true"] {
        let done = engine.shell_with(line, Some(folder.path()));
        assert_eq!(String::from_utf8_lossy(&done.stderr), "", "{line}");
    }
}

#[test]
fn a_person_at_a_terminal_can_work_and_detach() {
    if let Err(reason) = engine::needs(&["busybox", "python3"]) {
        return must_run::skip(&reason);
    }
    let Some(folder) = programs() else { return };
    let engine = engine();
    let person = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/at_a_terminal.py");
    let person = |rest: &str| {
        let line = format!("python3 {} {rest}", person.display());
        String::from_utf8_lossy(&engine.shell_with(&line, Some(folder.path())).stdout).into_owned()
    };
    let shown = person("'docker run -it --rm busybox sh' '#' 'stty size\\n' '30 100' 'exit 5\\n'");
    assert!(shown.contains("\n30 100\n") && shown.ends_with("[5]\n"), "{shown}");
    let shown = person("'docker run -it --name desk busybox sh' '#' '\\x10\\x11'");
    assert!(shown.ends_with("[0]\n"), "{shown}");
    assert_eq!(engine.must("docker inspect -f '{{.State.Running}}' desk"), "true");
    let shown = person("'docker exec -it desk sh -c \"tty; read x; exit \\$x\"' 'dev' '4\\n'");
    assert!(shown.contains("/dev/pts/") && shown.ends_with("[4]\n"), "{shown}");
    let shown = person("'docker attach desk' '' 'echo a$((1+1))b\\n' 'a2b' 'exit 6\\n'");
    assert!(shown.ends_with("[6]\n"), "{shown}");
}
