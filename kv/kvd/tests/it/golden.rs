//! Golden transcripts: scripts, and what the elder answered to each line. Ours must answer the same.
//!
//! `KV_RECORD=1` writes the answers anew from the installed elder. A script's line that begins with `~ ` is run but
//! not compared; the comment above it says why the answers differ. What names one particular cluster (ids, times,
//! sizes, addresses) is compared by shape.

use std::path::Path;

use crate::process::{KVD, Place, has};

/// What a script answered, line by line.
pub(crate) struct Block {
    pub(crate) line: String,
    pub(crate) answer: String,
}

/// The lines of a script that do something.
pub(crate) fn lines(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A line without the mark that says that it is not compared.
pub(crate) fn command(line: &str) -> &str {
    line.strip_prefix("~ ").unwrap_or(line)
}

/// Runs a script on ours and compares, or records the elder's answers.
pub(crate) fn judge(name: &str, elder: &str, least: usize, run: impl Fn(&str) -> Vec<Block>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(name);
    if std::env::var_os("KV_RECORD").is_some() {
        if has(elder) {
            std::fs::write(&path, text(&run(elder))).expect("written");
        }
        return;
    }
    let expected = std::fs::read_to_string(&path).expect("recorded");
    let expected = blocks(&expected);
    let ours = run(KVD);
    let ours = blocks(&text(&ours));
    assert!(expected.len() >= least, "only {} lines: too few", expected.len());
    assert_eq!(expected.len(), ours.len(), "the script has changed: record it again");
    let differs = |(elders, ours): &(&String, &String)| elders != ours && !elders.starts_with("~ ");
    let different: Vec<String> = expected
        .iter()
        .zip(&ours)
        .filter(differs)
        .map(|(elders, ours)| format!("elder: {elders}\nours:  {ours}\n"))
        .collect();
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), ours.len(), different.join("\n"));
}

fn text(blocks: &[Block]) -> String {
    blocks.iter().map(|block| format!("$ {}\n{}\n", block.line, block.answer.trim_end())).collect()
}

fn blocks(text: &str) -> Vec<String> {
    // Of a minute or a hundred seconds a little more or less is left, as it happens.
    let text = (30..100).fold(text.to_owned(), |text, left| {
        let text = text.replace(&format!("\"TTL\":\"{left}\""), "\"TTL\":\"LEFT\"");
        let text = text.replace(&format!("\"TTL\" : {left}\n"), "\"TTL\" : LEFT\n");
        text.replace(&format!("remaining({left}s)"), "remaining(LEFT)")
    });
    let text: String = text.lines().flat_map(|line| [shape(line), "\n".to_owned()]).collect();
    format!("\n{text}").split("\n$ ").skip(1).map(|block| block.trim_end().to_owned()).collect()
}

/// A table's columns are as wide as what is in them, and one member's id in sixteen has a digit less.
fn shape(line: &str) -> String {
    if !line.starts_with("+-") && !line.starts_with("| ") {
        return line.to_owned();
    }
    let mut last = '\0';
    line.chars().filter(|&c| std::mem::replace(&mut last, c) != c || !"- ".contains(c)).collect()
}

/// Replaces what differs between two clusters by what it is.
pub(crate) fn normalise(text: &str, place: &Place) -> String {
    let text = text.replace(&place.client, "CLIENT").replace(&place.peer, "PEER");
    let text = text.replace(place.client.trim_start_matches("http://"), "CLIENT");
    // How many elections there were is nobody's business.
    let text = (1..9).fold(text, |text, term| {
        let text = text.replace(&format!("\"raft_term\":{term}}}"), "\"raft_term\":TERM}");
        let text = text.replace(&format!("\"raft_term\":{term},"), "\"raft_term\":TERM,");
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
    let lines = out.lines().map(|line| time(line).unwrap_or_else(|| line.trim_end().to_owned()));
    lines.collect::<Vec<_>>().join("\n")
}
