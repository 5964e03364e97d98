//! A golden transcript: etcdctl's commands and what etcd answered to them, kept in `transcript.txt`. Ours must
//! answer the same. `KV_RECORD=1` writes the file anew from the installed etcd.
//!
//! Lines `$ ARGS` are commands (`\n` after `<<<` separates lines of standard input); `revision`s and the like are
//! compared as they are, ids, sizes, times and addresses by shape.

use std::{fmt::Write as _, path::Path};

use crate::process::{KVD, Member, Place, etcdctl, has, serves};

const COMMANDS: &str = include_str!("commands.txt");

fn run_all(program: &str) -> String {
    let dir = tempfile::tempdir().expect("temporary directory");
    let place = Place::new("one", dir.path());
    let member = Member::start(program, &place, &["--initial-cluster", &format!("one={}", place.peer)]);
    serves(&member.client);
    let mut transcript = String::new();
    let mut lease = String::from("0");
    for line in COMMANDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (command, input) = line.split_once(" <<< ").unwrap_or((line, ""));
        let command = command.replace("LEASE", &lease).replace("MEMBER", &member_id(&member.client));
        let args: Vec<String> = split(&command);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = etcdctl(&member.client, &args, &input.replace("\\n", "\n"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if let Some(id) = text.strip_prefix("lease ").filter(|_| line.starts_with("lease grant")) {
            lease = id.split(' ').next().unwrap_or("0").to_owned();
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = errors.lines().filter(|line| line.starts_with("Error")).collect();
        let shown = normalise(&format!("{text}{}", errors.join("\n")), &place);
        let _ = write!(transcript, "$ {line}\n{shown}\n[exit {}]\n", output.status.code().unwrap_or(-1));
    }
    transcript
}

fn member_id(endpoint: &str) -> String {
    let output = etcdctl(endpoint, &["member", "list"], "");
    String::from_utf8_lossy(&output.stdout).split(',').next().unwrap_or_default().to_owned()
}

fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '\'' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            letter => word.push(letter),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

/// Replaces what differs between two clusters by what it is.
fn normalise(text: &str, place: &Place) -> String {
    let text = text.replace(&place.client, "CLIENT").replace(&place.peer, "PEER");
    let text = text.replace(place.client.trim_start_matches("http://"), "CLIENT");
    // How many elections there were is nobody's business.
    let text = (1..9).fold(text, |text, term| {
        let text = text.replace(&format!("\"raft_term\":{term}}}"), "\"raft_term\":TERM}");
        text.replace(&format!("\"RaftTerm\" : {term}\n"), "\"RaftTerm\" : TERM\n")
    });
    let mut out = String::new();
    let mut word = String::new();
    for letter in text.chars().chain(['\0']) {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
            continue;
        }
        let hex = word.len() >= 14 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = word.len() >= 15 && word.bytes().all(|byte| byte.is_ascii_digit());
        out.push_str(if number {
            "NUMBER"
        } else if hex {
            "ID"
        } else {
            &word
        });
        word.clear();
        if letter != '\0' {
            out.push(letter);
        }
    }
    let time = |line: &str| line.split_once("took = ").map(|(before, _)| format!("{before}took = TIME"));
    out.lines()
        .map(|line| time(line).unwrap_or_else(|| line.trim_end().to_owned()))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn etcdctl_sees_no_difference() {
    if !has("etcdctl") {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcript.txt");
    if std::env::var_os("KV_RECORD").is_some() && has("etcd") {
        std::fs::write(&path, run_all("etcd")).expect("written");
        return;
    }
    let expected = std::fs::read_to_string(&path).expect("recorded");
    let ours = run_all(KVD);
    let blocks = |text: &str| text.split("$ ").map(str::to_owned).collect::<Vec<_>>();
    let different: Vec<String> = blocks(&expected)
        .iter()
        .zip(blocks(&ours))
        .filter(|(etcds, ours)| *etcds != ours)
        .map(|(etcds, ours)| format!("etcd: {etcds}\nours: {ours}"))
        .collect();
    assert!(different.is_empty(), "{} commands differ:\n{}", different.len(), different.join("\n"));
    assert!(blocks(&expected).len() > 60, "too few commands");
}
