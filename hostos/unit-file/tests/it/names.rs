//! Unit names: which are valid, what operators' words become, and how paths are escaped.

use unit_file::{UnitName, escape, escape_path, unescape, unescape_path};

const ANSWERS: &str = include_str!("names.txt");

#[test]
fn names_are_what_they_are_to_systemd() {
    let mut wrong = Vec::new();
    for line in ANSWERS.lines().filter(|line| !line.starts_with('#')) {
        let (question, expected) = line.split_once(" => ").expect("a question and its answer");
        let (verb, text) = question.split_once(' ').unwrap_or((question, ""));
        let ours = match verb {
            "valid" => if text.parse::<UnitName>().is_ok() { "yes" } else { "no" }.to_owned(),
            "mangle" => UnitName::from_operator(text).map_or("!".to_owned(), |name| name.to_string()),
            "path" => escape_path(text),
            "unpath" => unescape_path(text),
            "escape" => escape(text),
            "unescape" => unescape(text),
            verb => panic!("no such question: {verb}"),
        };
        if ours != expected {
            wrong.push(format!("{question}\n  ours    {ours}\n  systemd {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ANSWERS.lines().count() > 80);
}
