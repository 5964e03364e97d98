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

/// In the order in which they are tried: each starts where the number ends.
const UNITS: [(&str, u64); 30] = [
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
];

const SPACES: [char; 4] = [' ', '\t', '\n', '\r'];

/// A span; a number without unit counts in `default_unit`. Empty or odd text is nothing.
#[must_use]
pub fn parse_span(text: &str, default_unit: Duration) -> Option<TimeSpan> {
    let text = text.trim_matches(SPACES);
    if text == "infinity" {
        return Some(TimeSpan::Infinite);
    }
    if text.is_empty() {
        return None;
    }
    let default_unit = u64::try_from(default_unit.as_micros()).ok()?;
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let number = Number::read(&mut rest)?;
        let behind = rest.trim_start_matches(SPACES);
        let unit = UNITS.iter().find_map(|(name, factor)| Some((behind.strip_prefix(name)?, *factor)));
        let (tail, factor) = match unit {
            // `12.34.56` is no span, `12.34 .56` and `12.34s.56` are.
            None if behind.len() == rest.len() && !rest.is_empty() => return None,
            None => (behind, default_unit),
            Some(found) => found,
        };
        total = total.checked_add(number.times(factor)?)?;
        rest = tail.trim_start_matches(SPACES);
    }
    (total < u64::MAX).then(|| TimeSpan::Finite(Duration::from_micros(total)))
}

struct Number<'a> {
    whole: i64,
    /// Digits.
    fraction: &'a str,
}

impl<'a> Number<'a> {
    /// Takes one from the start of `rest`: `5`, `+5`, `5.5`, `.5`.
    fn read(rest: &mut &'a str) -> Option<Self> {
        let digits =
            |text: &'a str| text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let (whole, behind) = digits(rest.strip_prefix('+').unwrap_or(rest));
        let Some(behind) = behind.strip_prefix('.').filter(|_| !whole.is_empty() || rest.starts_with('.'))
        else {
            *rest = behind;
            return Some(Self { whole: whole.parse().ok()?, fraction: "" });
        };
        let (fraction, behind) = digits(behind);
        *rest = behind;
        let whole = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        (!fraction.is_empty()).then_some(Self { whole, fraction })
    }

    fn times(&self, factor: u64) -> Option<u64> {
        let whole = u64::try_from(self.whole).ok().filter(|whole| *whole < u64::MAX / factor)?;
        let mut total = whole * factor;
        let mut scale = factor;
        for digit in self.fraction.chars() {
            scale /= 10;
            total = total.checked_add(u64::from(digit.to_digit(10)?) * scale)?;
        }
        Some(total)
    }
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
    for (name, size) in PARTS {
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
        out.push(format!("{whole}{name}"));
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

/// How long ago something was, or how long until it is, as systemd says it: the larger the span, the
/// rougher. `3 weeks 1 day`, `2 days`, `7h`, `1h 5min`.
#[must_use]
pub fn format_relative(span: Duration) -> String {
    const DAY: u64 = 86_400;
    const MONTH: u64 = 2_629_800;
    const YEAR: u64 = 31_557_600;
    let many = |count: u64, name: &str| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
    let seconds = span.as_secs();
    match seconds {
        0 if span.is_zero() => "now".to_owned(),
        0 if span.as_millis() == 0 => format!("{}us", span.as_micros()),
        0 => format!("{}ms", span.as_millis()),
        1..60 => format!("{seconds}s"),
        60..300 => format!("{}min {}s", seconds / 60, seconds % 60),
        300..3600 => format!("{}min", seconds / 60),
        3600..21_600 => format!("{}h {}min", seconds / 3600, seconds % 3600 / 60),
        21_600..90_000 => format!("{}h", seconds / 3600),
        90_000..172_800 => format!("1 day {}h", (seconds - DAY) / 3600),
        172_800..604_800 => many(seconds / DAY, "day"),
        604_800..MONTH => {
            format!("{} {}", many(seconds / (7 * DAY), "week"), many(seconds % (7 * DAY) / DAY, "day"))
        }
        MONTH..YEAR => format!("{} {}", many(seconds / MONTH, "month"), many(seconds % MONTH / DAY, "day")),
        _ => format!("{} {}", many(seconds / YEAR, "year"), many(seconds % YEAR / MONTH, "month")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

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
    #[test]
    fn long_spans_are_told_roughly() {
        for (seconds, expected) in [
            (0, "now"),
            (59, "59s"),
            (61, "1min 1s"),
            (3599, "59min"),
            (3661, "1h 1min"),
            (23 * 3600, "23h"),
            (25 * 3600, "1 day 1h"),
            (7 * 86_400, "1 week 0 days"),
            (40 * 86_400, "1 month 9 days"),
            (800 * 86_400, "2 years 2 months"),
        ] {
            assert_eq!(format_relative(Duration::from_secs(seconds)), expected);
        }
    }
}
