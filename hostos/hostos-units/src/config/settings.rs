//! What becomes of settings that are right, wrong, or too wrong to start with: as systemd has it.

use unit_file::{Specifiers, UnitFile};

use super::Section;
use super::service::ServiceConfig;
use crate::options::Options;

const ANSWERS: &str = include_str!("settings.txt");

#[test]
fn settings_are_taken_ignored_or_fatal_as_in_systemd() {
    let mut wrong = Vec::new();
    for line in ANSWERS.lines().filter(|line| !line.starts_with('#')) {
        let (setting, expected) = line.split_once(" => ").expect("a setting and what becomes of it");
        let kind = if setting.starts_with("Type=") || setting.starts_with("Restart=") {
            ""
        } else {
            "Type=oneshot\n"
        };
        let ours = verdict(&format!("[Service]\nExecStart=/bin/true\n{kind}{setting}\n"));
        if ours != expected {
            wrong.push(format!("{setting}: ours {ours}, systemd {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ANSWERS.lines().count() > 200);
}

fn verdict(text: &str) -> &'static str {
    let file = UnitFile::parse(text).expect("a unit file");
    let unit = "a.service".parse().expect("valid");
    let host = Specifiers::default();
    let section = Section::new(&file, "Service", &unit, &host);
    let parsed = ServiceConfig::parse(&section, &Options::system());
    match parsed {
        Err(_) => "fatal",
        Ok(_) if section.warnings.borrow().is_empty() => "ok",
        Ok(_) => "ignored",
    }
}
