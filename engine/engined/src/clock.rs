//! Times as Docker writes them. One place reads the clock for records; the rest takes nanoseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Nanoseconds since 1970; 0 stands for never.
pub(crate) type Nanos = i64;

pub(crate) fn now() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// `2026-11-21T23:12:10.557568877Z`, without trailing zeros; never is the year 1.
pub(crate) fn rfc3339(nanos: Nanos) -> String {
    if nanos == 0 {
        return "0001-01-01T00:00:00Z".into();
    }
    let fraction = nanos.rem_euclid(1_000_000_000);
    let mut text = seconds_part(nanos);
    if fraction != 0 {
        let digits = format!(".{fraction:09}");
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The same with all nine digits, as in logs.
pub(crate) fn rfc3339_padded(nanos: Nanos) -> String {
    format!("{}.{:09}Z", seconds_part(nanos), nanos.rem_euclid(1_000_000_000))
}

fn seconds_part(nanos: Nanos) -> String {
    let t = OffsetDateTime::from_unix_timestamp(nanos.div_euclid(1_000_000_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

/// Reads RFC 3339.
pub(crate) fn parse(text: &str) -> Option<Nanos> {
    let t = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    i64::try_from(t.unix_timestamp_nanos()).ok()
}

/// Reads what clients send for since and until: Unix seconds with a fraction, or RFC 3339.
pub(crate) fn parse_unix(text: &str) -> Option<Nanos> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let Ok(seconds) = seconds.parse::<i64>() else { return parse(text) };
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().ok()? };
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// Reads a span as Go writes it: `1h30m`, `1.5s`, `500ms`.
pub(crate) fn parse_span(text: &str) -> Option<Nanos> {
    const UNITS: [(&str, f64); 6] =
        [("ms", 1e6), ("us", 1e3), ("ns", 1.0), ("h", 3.6e12), ("m", 6e10), ("s", 1e9)];
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let (unit, scale) = UNITS.iter().find(|(unit, _)| rest[end..].starts_with(unit))?;
        total += number * scale;
        rest = &rest[end + unit.len()..];
    }
    (!text.is_empty()).then_some(total as Nanos)
}

/// A span in words, as in `Up 3 minutes`.
pub(crate) fn in_words(nanos: Nanos) -> String {
    let seconds = nanos / 1_000_000_000;
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_there_and_back() {
        for text in ["2026-11-21T23:12:10.557568877Z", "2026-11-21T23:12:10Z", "2026-11-21T23:12:10.5Z"] {
            assert_eq!(rfc3339(parse(text).unwrap()), text);
        }
        assert_eq!(rfc3339(0), "0001-01-01T00:00:00Z");
        assert_eq!(rfc3339_padded(1_500_000_000), "1970-01-01T00:00:01.500000000Z");
        assert_eq!(parse_unix("12.5"), Some(12_500_000_000));
        assert_eq!(parse_unix("12"), Some(12_000_000_000));
        assert_eq!(parse_unix("x"), None);
    }

    #[test]
    fn spans_are_read() {
        assert_eq!(parse_span("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse_span("1.5s"), Some(1_500_000_000));
        assert_eq!(parse_span("250ms"), Some(250_000_000));
        assert!(parse_span("").is_none() && parse_span("5").is_none() && parse_span("x").is_none());
    }

    #[test]
    fn spans() {
        let s = 1_000_000_000;
        for (span, text) in [
            (s / 2, "Less than a second"),
            (s, "1 second"),
            (47 * s, "47 seconds"),
            (61 * s, "About a minute"),
            (200 * s, "3 minutes"),
            (3601 * s, "About an hour"),
            (3600 * 24 * 3 * s, "3 days"),
        ] {
            assert_eq!(in_words(span), text);
        }
    }
}
