//! Transcripts of docker's client and of the bare API against dockerd 20.10, and ours beside them.
//!
//! `tests/golden/script` holds the commands, `expected` what dockerd answered, `ours` what we answer where we
//! mean to differ; `wire`, `wire.expected` and `wire.ours` are the same for requests. To record what is
//! expected again, run a test with GOLDEN_RECORD=/path/to/dockerd; with GOLDEN_ACCEPT=1 it writes ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::engine::{self, Engine};
use crate::normal::normalise;

/// A script, what it is to say, and how one of its lines is performed.
struct Transcript {
    script: &'static str,
    expected: &'static str,
    ours: &'static str,
    perform: fn(&Engine, &str) -> String,
    /// It has at least so many lines.
    least: usize,
}

const CLIENT: Transcript =
    Transcript { script: "script", expected: "expected", ours: "ours", perform, least: 80 };
const WIRE: Transcript = Transcript {
    script: "wire",
    expected: "wire.expected",
    ours: "wire.ours",
    perform: crate::wire::perform,
    least: 80,
};

/// One command of the script.
struct Step {
    line: String,
    /// Why ours may differ.
    differs: Option<String>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn script(name: &str) -> Vec<Step> {
    let text = std::fs::read_to_string(golden(name)).expect("the script is committed");
    let mut steps = Vec::new();
    let mut differs = None;
    for line in text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
        match line.strip_prefix("differs ") {
            Some(reason) => differs = Some(reason.to_owned()),
            None => steps.push(Step { line: line.to_owned(), differs: differs.take() }),
        }
    }
    steps
}

/// Output, errors and exit code of a line, as text.
fn perform(engine: &Engine, line: &str) -> String {
    let done = engine.shell(line);
    let dir = engine.dir.path().display().to_string();
    let mut text = String::new();
    for (mark, bytes) in [("", &done.stdout), ("! ", &done.stderr)] {
        for shown in normalise(&String::from_utf8_lossy(bytes), &dir).lines() {
            let _ = writeln!(text, "{mark}{}", shown.trim_end());
        }
    }
    if let Some(code) = done.status.code().filter(|c| *c != 0) {
        let _ = writeln!(text, "[{code}]");
    }
    text
}

fn write(path: &Path, outcomes: &[(String, String)]) {
    let text: String = outcomes.iter().map(|(line, outcome)| format!("$ {line}\n{outcome}\n")).collect();
    std::fs::write(path, text).expect("the folder is there");
}

/// The n-th outcome of each line, because a line may occur several times.
fn read(path: &Path) -> BTreeMap<(String, usize), String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut all = BTreeMap::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for block in text.split("\n\n").map(|b| b.trim_start_matches('\n')).filter(|b| !b.is_empty()) {
        let (line, outcome) = block.split_once('\n').unwrap_or((block, ""));
        let line = line.trim_start_matches("$ ").to_owned();
        let count = seen.entry(line.clone()).or_default();
        all.insert((line, *count), outcome.trim_end().to_owned());
        *count += 1;
    }
    all
}

fn run_all(program: &Path, transcript: &Transcript) -> (Vec<Step>, Vec<(String, String)>) {
    let engine = Engine::start(program).expect("the engine starts");
    engine.import_busybox().expect("busybox is imported");
    let steps = script(transcript.script);
    let outcomes = steps.iter().map(|s| (s.line.clone(), (transcript.perform)(&engine, &s.line))).collect();
    (steps, outcomes)
}

#[test]
fn ours_answers_as_dockerd_does() {
    compare(&CLIENT);
}

#[test]
fn ours_answers_bare_requests_as_dockerd_does() {
    compare(&WIRE);
}

fn compare(transcript: &Transcript) {
    if let Some(reason) = engine::missing() {
        return println!("skipped: {reason}");
    }
    if let Some(dockerd) = std::env::var_os("GOLDEN_RECORD") {
        let (_, outcomes) = run_all(Path::new(&dockerd), transcript);
        return write(&golden(transcript.expected), &outcomes);
    }
    let (steps, outcomes) = run_all(Path::new(env!("CARGO_BIN_EXE_engined")), transcript);
    let (expected, ours) = (read(&golden(transcript.expected)), read(&golden(transcript.ours)));
    let mut accepted = Vec::new();
    let mut wrong = String::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (step, (line, outcome)) in steps.iter().zip(&outcomes) {
        let count = seen.entry(line).or_default();
        let key = (line.clone(), *count);
        *count += 1;
        let wanted = match &step.differs {
            Some(_) => {
                accepted.push((line.clone(), outcome.clone()));
                ours.get(&key).or(expected.get(&key))
            }
            None => expected.get(&key),
        };
        let wanted = wanted.map_or("(not in the transcript)", String::as_str);
        if wanted != outcome.trim_end() {
            let _ = writeln!(wrong, "$ {line}\n--- wanted\n{wanted}\n--- got\n{outcome}");
        }
    }
    if std::env::var_os("GOLDEN_ACCEPT").is_some() {
        write(&golden(transcript.ours), &accepted);
    }
    assert!(steps.len() >= transcript.least, "the script has only {} lines", steps.len());
    assert!(wrong.is_empty(), "{wrong}");
}
