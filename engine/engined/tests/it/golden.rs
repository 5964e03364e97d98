//! A transcript of docker's client against dockerd 20.10, and ours beside it.
//!
//! `tests/golden/script` holds the commands, `expected` what dockerd answered, `ours` what we answer where we
//! mean to differ. To record `expected` again, run the test with GOLDEN_RECORD=/path/to/dockerd; with
//! GOLDEN_ACCEPT=1 it writes `ours`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::engine::{self, Engine};
use crate::normal::normalise;

/// A script, and what it is to say.
pub(crate) struct Transcript {
    script: &'static str,
    expected: &'static str,
    ours: &'static str,
}

/// Of docker's client.
pub(crate) const CLIENT: Transcript = Transcript { script: "script", expected: "expected", ours: "ours" };
/// Of what moby's own suites ask of the client.
const SUITES: Transcript = Transcript { script: "suites", expected: "suites.expected", ours: "suites.ours" };
/// Of requests without one.
const WIRE: Transcript = Transcript { script: "wire", expected: "wire.expected", ours: "wire.ours" };

/// It has at least so many lines.
const LEAST: usize = 80;

/// How a line is performed.
type Perform<'a> = &'a dyn Fn(&Engine, &str) -> String;

/// One command of the script.
pub(crate) struct Step {
    pub(crate) line: String,
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

/// Output, errors and exit code of a line, as text; with the programs of a folder before others.
pub(crate) fn perform(engine: &Engine, line: &str, programs: Option<&Path>) -> String {
    let done = engine.shell_with(line, programs);
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
    for block in text.strip_prefix("$ ").into_iter().flat_map(|text| text.split("\n\n$ ")) {
        let (line, outcome) = block.split_once('\n').unwrap_or((block, ""));
        let line = line.to_owned();
        let count = seen.entry(line.clone()).or_default();
        all.insert((line, *count), outcome.trim_end().to_owned());
        *count += 1;
    }
    all
}

/// Performs a script on an engine of its own, but for the lines to be skipped.
pub(crate) fn run_all(
    program: &Path,
    transcript: &Transcript,
    perform: Perform<'_>,
    skip: impl Fn(&str) -> bool,
) -> Vec<(Step, String)> {
    let engine = Engine::start(program).expect("the engine starts");
    engine.import_busybox().expect("busybox is imported");
    let steps = script(transcript.script).into_iter().filter(|step| !skip(&step.line));
    steps.map(|step| (perform(&engine, &step.line), step)).map(|(outcome, step)| (step, outcome)).collect()
}

/// What each line of a script is to print, in their order.
pub(crate) fn wanted(transcript: &Transcript) -> Vec<(String, String)> {
    let (expected, ours) = (read(&golden(transcript.expected)), read(&golden(transcript.ours)));
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let want = |step: Step| {
        let count = seen.entry(step.line.clone()).or_default();
        let key = (step.line.clone(), *count);
        *count += 1;
        let known = step.differs.and_then(|_| ours.get(&key)).or(expected.get(&key));
        (step.line, known.map_or("(not in the transcript)", String::as_str).to_owned())
    };
    script(transcript.script).into_iter().map(want).collect()
}

#[test]
fn ours_answers_as_dockerd_does() {
    compare(&CLIENT, &|engine, line| perform(engine, line, None));
}

#[test]
fn ours_answers_as_dockerd_does_in_mobys_suites() {
    // They leave files behind.
    let there = |engine: &Engine, line: &str| {
        perform(engine, &format!("cd {}; {line}", engine.dir.path().display()), None)
    };
    compare(&SUITES, &there);
}

#[test]
fn ours_answers_bare_requests_as_dockerd_does() {
    compare(&WIRE, &crate::wire::perform);
}

fn compare(transcript: &Transcript, perform: Perform<'_>) {
    if let Some(reason) = engine::missing() {
        return must_run::skip(&reason);
    }
    let record = |name: &str, outcomes: &[(Step, String)], which: &dyn Fn(&Step) -> bool| {
        let chosen = outcomes.iter().filter(|(step, _)| which(step));
        let chosen: Vec<_> = chosen.map(|(step, outcome)| (step.line.clone(), outcome.clone())).collect();
        write(&golden(name), &chosen);
    };
    if let Some(dockerd) = std::env::var_os("GOLDEN_RECORD") {
        let outcomes = run_all(Path::new(&dockerd), transcript, perform, |_| false);
        return record(transcript.expected, &outcomes, &|_| true);
    }
    let outcomes = run_all(Path::new(env!("CARGO_BIN_EXE_engined")), transcript, perform, |_| false);
    let mut wrong = String::new();
    for ((step, outcome), (_, wanted)) in outcomes.iter().zip(wanted(transcript)) {
        if wanted != outcome.trim_end() {
            let _ = writeln!(wrong, "$ {}\n--- wanted\n{wanted}\n--- got\n{outcome}", step.line);
        }
    }
    if std::env::var_os("GOLDEN_ACCEPT").is_some() {
        record(transcript.ours, &outcomes, &|step| step.differs.is_some());
    }
    assert!(outcomes.len() >= LEAST, "the script has only {} lines", outcomes.len());
    assert!(wrong.is_empty(), "{wrong}");
}
