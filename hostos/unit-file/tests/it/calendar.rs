//! Calendar expressions: which are valid, their normalized form, and their next moments.

use unit_file::Calendar;

const ANSWERS: &str = include_str!("calendar.txt");

/// Sat 2026-11-21 23:18:30 UTC, in microseconds.
const AFTER: i64 = 1_795_303_110_000_000;

#[test]
fn expressions_mean_what_they_mean_to_systemd() {
    let mut wrong = Vec::new();
    for line in ANSWERS.lines().filter(|line| !line.starts_with('#')) {
        let (expression, expected) = line.split_once(" => ").expect("an expression and what it is");
        let ours = answer(&unpadded(expression));
        if ours != expected {
            wrong.push(format!("{expression}\n  ours    {ours}\n  systemd {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ANSWERS.lines().count() > 300);
}

fn answer(expression: &str) -> String {
    let Ok(calendar) = expression.parse::<Calendar>() else { return "!".to_owned() };
    let mut moments: Vec<String> = Vec::new();
    let mut at = AFTER;
    while let Some(next) = calendar.next_after(at).filter(|_| moments.len() < 3) {
        moments.push(written(next));
        at = next;
    }
    if moments.is_empty() {
        moments.push("never".to_owned());
    }
    let again = calendar.to_string().parse::<Calendar>().expect("the normal form is valid");
    assert_eq!(again, calendar, "{expression} is the same as its normal form");
    format!("{calendar} => {}", moments.join(", "))
}

/// `2026-11-21 23:18:30`, counted from the year 1970 on.
fn written(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let (mut days, mut year) = (seconds / 86_400, 1970);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}", month + 1, days + 1)
}

/// Spaces at either end are written as `_`.
fn unpadded(text: &str) -> String {
    let inner = text.trim_matches('_');
    let (front, back) = text.split_once(inner).unwrap_or((text, ""));
    let spaces = |side: &str| " ".repeat(side.len());
    format!("{}{inner}{}", spaces(front), spaces(back))
}
