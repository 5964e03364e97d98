//! Taking out of a transcript what is different each time: ids, times, random names, paths.

use regex::Regex;

/// Replaces what differs from run to run.
pub(crate) fn normalise(text: &str, dir: &str) -> String {
    let rules = [
        (r"time=\S+ level", "time=T level"),
        (r"\b[0-9a-f]{64}\b", "ID64"),
        (r"\b[0-9a-f]{12}\b", "ID12"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "TIME"),
        (r"(?m)(Up|Exited \(\d+\)) (Less than a second|About a minute|\d+ \w+)( ago)?", "$1 SPAN"),
        (r"(Less than a second|About a minute|\d+ (second|minute)s?) ago", "SPAN ago"),
        (r"on endpoint \S+ ", "on endpoint NAME "),
        // Columns are as wide as what stands in them.
        (r"  +", "  "),
        (r"Total reclaimed space: .*", "Total reclaimed space: N"),
    ];
    let mut text = text.replace(dir, "DIR");
    for (pattern, with) in rules {
        text = Regex::new(pattern).expect("a pattern of ours").replace_all(&text, with).into_owned();
    }
    text
}

#[test]
fn ids_and_times_go() {
    let text = format!("{} at 2026-01-01T00:00:00.5Z Exited (0) 2 seconds ago", "a".repeat(64));
    assert_eq!(normalise(&text, "/tmp/x"), "ID64 at TIME Exited (0) SPAN");
}
