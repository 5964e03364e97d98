//! Verdicts over the corpus: ours against what is written down, and what is written down for the elder
//! against the elder itself where it is installed (`ignition-validate`, Debian's package `ignition`).
//!
//! A case is `=== NAME`, lines `elder: VERDICT`, `why: …` where the two differ, `ours: VERDICT [PATH]`,
//! and after `---` the config, byte for byte but for its last line break. `BLESS=1` writes our verdicts
//! into the corpus; look at the difference before it is committed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hostos_config::{Diagnostic, parse};

struct Case {
    name: String,
    elder: String,
    why: Option<String>,
    ours: String,
    config: String,
}

#[test]
fn our_verdicts_are_those_written_down() {
    let mut wrong = Vec::new();
    for (path, mut cases) in corpus() {
        for case in &mut cases {
            let verdict = our_verdict(&case.config);
            if verdict != case.ours {
                wrong.push(format!("{}: {}: {verdict}, not {}", file_name(&path), case.name, case.ours));
                case.ours = verdict;
            }
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, render(&cases)).expect("the corpus can be written");
        }
    }
    assert!(wrong.is_empty(), "{} verdicts differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_different_verdict_than_the_elders_has_a_reason() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for (path, cases) in corpus() {
        for case in cases {
            count += 1;
            let ours = case.ours.split(' ').next().unwrap_or_default();
            if (ours != case.elder) != case.why.is_some() {
                wrong.push(format!(
                    "{}: {}: elder {}, ours {}",
                    file_name(&path),
                    case.name,
                    case.elder,
                    case.ours
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 100, "only {count} cases");
}

#[test]
fn the_elder_says_what_is_written_down() {
    if Command::new("ignition-validate").arg("-h").stderr(Stdio::null()).status().is_err() {
        must_run::skip("ignition-validate is not installed (apt-get install ignition)");
        return;
    }
    let mut wrong = Vec::new();
    for (path, cases) in corpus() {
        for case in cases {
            let verdict = elders_verdict(&case.config);
            if verdict != case.elder {
                wrong.push(format!("{}: {}: {verdict}, not {}", file_name(&path), case.name, case.elder));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn our_verdict(config: &str) -> String {
    let with_path =
        |verdict: &str, diagnostic: Option<&Diagnostic>| match diagnostic.map(|found| found.path.as_str()) {
            Some("") | None => verdict.to_owned(),
            Some(path) => format!("{verdict} {path}"),
        };
    match parse(config.as_bytes(), "case") {
        Ok((_, warnings)) if warnings.is_empty() => "ok".into(),
        Ok((_, warnings)) => with_path("warning", warnings.first()),
        Err(rejected) => {
            let first = rejected.first().expect("a rejected config has an error");
            assert!(first.line > 0 && first.column > 0, "{first:?} has no place");
            with_path("error", Some(first))
        }
    }
}

fn elders_verdict(config: &str) -> &'static str {
    let mut child = Command::new("ignition-validate")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is installed");
    child.stdin.take().expect("it is piped").write_all(config.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    if !output.status.success() {
        "error"
    } else if String::from_utf8_lossy(&said).contains("warning") {
        "warning"
    } else {
        "ok"
    }
}

fn corpus() -> Vec<(PathBuf, Vec<Case>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(directory).expect("the corpus is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn read(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).expect("the corpus is UTF-8");
    let mut cases = Vec::new();
    let mut rest = text.strip_prefix("=== ").expect("a case begins with ===");
    loop {
        let (case, next) = match rest.find("\n=== ") {
            Some(end) => (&rest[..=end], Some(&rest[end + 5..])),
            None => (rest, None),
        };
        let (head, config) = case.split_once("\n---\n").expect("a case has a config after ---");
        let mut lines = head.lines();
        let name = lines.next().unwrap_or_default().to_owned();
        let mut case = Case {
            name,
            elder: String::new(),
            why: None,
            ours: String::new(),
            config: config.strip_suffix('\n').unwrap_or(config).to_owned(),
        };
        for line in lines {
            match line.split_once(": ") {
                Some(("elder", verdict)) => case.elder = verdict.into(),
                Some(("why", reason)) => case.why = Some(reason.into()),
                Some(("ours", verdict)) => case.ours = verdict.into(),
                _ => panic!("{}: what is `{line}`?", case.name),
            }
        }
        cases.push(case);
        match next {
            Some(next) => rest = next,
            None => return cases,
        }
    }
}

fn render(cases: &[Case]) -> String {
    let mut text = String::new();
    for Case { name, elder, why, ours, config } in cases {
        let why = why.as_ref().map_or(String::new(), |why| format!("why: {why}\n"));
        write!(text, "=== {name}\nelder: {elder}\n{why}ours: {ours}\n---\n{config}\n")
            .expect("a string grows");
    }
    text
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
