//! Time spans: which are valid, how long they are, and how they are printed.

use std::time::Duration;

use unit_file::{TimeSpan, format_span, parse_span};

const ANSWERS: &str = include_str!("spans.txt");

#[test]
fn spans_are_as_long_as_systemd_has_them() {
    let mut wrong = Vec::new();
    for line in ANSWERS.lines().filter(|line| !line.starts_with('#')) {
        let (text, expected) = line.split_once(" => ").expect("a span and what it is");
        let written = text.trim_start_matches('_').trim_end_matches('_');
        let text = text.replace(written, "\u{1}").replace('_', " ").replace('\u{1}', written);
        let text = if written.is_empty() { text } else { text.replace("\\t", "\t") };
        let ours = match parse_span(&text, Duration::from_secs(1)) {
            None => "!".to_owned(),
            Some(TimeSpan::Infinite) => format!("{} => infinity", u64::MAX),
            Some(TimeSpan::Finite(span)) => {
                format!("{} => {}", span.as_micros(), format_span(span, Duration::from_micros(1)))
            }
        };
        if ours != expected {
            wrong.push(format!("`{text}`\n  ours    {ours}\n  systemd {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ANSWERS.lines().count() > 150);
}
