//! Time spans: `90`, `1min 30s`, `500ms`, `infinity`.

use std::time::Duration;

/// A span that may have no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeSpan {
    /// So long.
    Finite(Duration),
    /// Never ends.
    Infinite,
}

const UNITS: [(&str, u64); 31] = [
    ("seconds", 1_000_000),
    ("second", 1_000_000),
    ("sec", 1_000_000),
    ("s", 1_000_000),
    ("minutes", 60_000_000),
    ("minute", 60_000_000),
    ("min", 60_000_000),
    ("months", 2_629_800_000_000),
    ("month", 2_629_800_000_000),
    ("M", 2_629_800_000_000),
    ("msec", 1_000),
    ("ms", 1_000),
    ("m", 60_000_000),
    ("hours", 3_600_000_000),
    ("hour", 3_600_000_000),
    ("hr", 3_600_000_000),
    ("h", 3_600_000_000),
    ("days", 86_400_000_000),
    ("day", 86_400_000_000),
    ("d", 86_400_000_000),
    ("weeks", 604_800_000_000),
    ("week", 604_800_000_000),
    ("w", 604_800_000_000),
    ("years", 31_557_600_000_000),
    ("year", 31_557_600_000_000),
    ("y", 31_557_600_000_000),
    ("usec", 1),
    ("us", 1),
    ("µs", 1),
    ("μs", 1),
    ("", 0),
];

/// A span; a number without unit counts in `default_unit`. Empty or odd text is nothing.
#[must_use]
pub fn parse_span(text: &str, default_unit: Duration) -> Option<TimeSpan> {
    let text = text.trim();
    if text == "infinity" {
        return Some(TimeSpan::Infinite);
    }
    let mut total: u128 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, tail) = after.split_at(letters);
        let factor = match UNITS.iter().find(|(name, _)| *name == unit)? {
            ("", _) => default_unit.as_micros(),
            (_, factor) => u128::from(*factor),
        };
        total = total.checked_add(scaled(number, factor)?)?;
        rest = tail.trim_start();
    }
    let micros = u64::try_from(total).ok().filter(|micros| *micros < u64::MAX / 2)?;
    Some(TimeSpan::Finite(Duration::from_micros(micros)))
}

fn scaled(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut total = if whole.is_empty() { 0 } else { whole.parse::<u128>().ok()?.checked_mul(factor)? };
    let mut scale = factor;
    for digit in fraction.chars() {
        scale /= 10;
        total += u128::from(digit.to_digit(10)?) * scale;
    }
    Some(total)
}

/// As systemd prints spans: `1min 30s`, `1.500s`, `0`. Parts below `accuracy` are left out.
#[must_use]
pub fn format_span(span: Duration, accuracy: Duration) -> String {
    const PARTS: [(&str, u128); 9] = [
        ("y", 31_557_600_000_000),
        ("month", 2_629_800_000_000),
        ("w", 604_800_000_000),
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("min", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ];
    let accuracy = accuracy.as_micros().max(1);
    let mut left = span.as_micros();
    let mut out: Vec<String> = Vec::new();
    for (index, (name, size)) in PARTS.into_iter().enumerate() {
        if left == 0 || (left < accuracy && !out.is_empty()) {
            break;
        }
        if left < size {
            continue;
        }
        let (whole, rest) = (left / size, left % size);
        // Below a minute, what is left goes behind a decimal point.
        let decimals =
            if rest > 0 && size < 60_000_000 && size > 1 { decimals(rest, size, accuracy) } else { None };
        if let Some(decimals) = decimals {
            out.push(format!("{whole}.{decimals}{name}"));
            break;
        }
        let plural = if index == 1 && whole > 1 { "s" } else { "" };
        out.push(format!("{whole}{name}{plural}"));
        left = rest;
    }
    if out.is_empty() { "0".into() } else { out.join(" ") }
}

fn decimals(rest: u128, size: u128, accuracy: u128) -> Option<String> {
    let mut digits = 0;
    let mut step = size;
    while step > accuracy && step > 1 {
        step /= 10;
        digits += 1;
    }
    let shown = rest / step.max(1);
    (digits > 0).then(|| format!("{shown:0digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn millis(text: &str) -> Option<u128> {
        match parse_span(text, SECOND)? {
            TimeSpan::Finite(span) => Some(span.as_millis()),
            TimeSpan::Infinite => Some(u128::MAX),
        }
    }

    #[test]
    fn spans() {
        for (text, expected) in [
            ("0", 0),
            ("90", 90_000),
            ("1min 30s", 90_000),
            ("1min30s", 90_000),
            ("2h", 7_200_000),
            ("500ms", 500),
            ("1.5", 1500),
            ("5 minutes", 300_000),
            ("infinity", u128::MAX),
            ("1y", 31_557_600_000),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for bad in ["", "x", "5x", "s", "-5", "5 6x", "."] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn printed() {
        let micro = Duration::from_micros(1);
        for (millis, expected) in [
            (0, "0"),
            (90_000, "1min 30s"),
            (100, "100ms"),
            (1_500, "1.500000s"),
            (93_784_000, "1d 2h 3min 4s"),
        ] {
            assert_eq!(format_span(Duration::from_millis(millis), micro), expected);
        }
        assert_eq!(format_span(Duration::from_micros(1_234_567), Duration::from_millis(1)), "1.234s");
        assert_eq!(format_span(Duration::from_micros(61_234_567), SECOND), "1min 1s");
    }
}
