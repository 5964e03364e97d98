//! How Docker's client says times, sizes and names.

use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The first 12 digits of an id.
pub(crate) fn short_id(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

/// At most `most` characters, the last of them an ellipsis if some were left out.
pub(crate) fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// `{"a": "b"}` as `a=b`, sorted.
pub(crate) fn labels(map: &Value) -> String {
    let mut pairs: Vec<String> =
        map.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    pairs.sort();
    pairs.join(",")
}

pub(crate) fn size(bytes: i64) -> String {
    engine_api::size::with_precision(u64::try_from(bytes).unwrap_or(0), 3)
}

/// With four digits, as sums are shown.
pub(crate) fn whole_size(bytes: i64) -> String {
    engine_api::size::human(u64::try_from(bytes).unwrap_or(0))
}

pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// How long ago a Unix time was, roughly.
pub(crate) fn ago(created: i64) -> String {
    format!("{} ago", span(now().unix_timestamp().saturating_sub(created)))
}

fn span(seconds: i64) -> String {
    let hours = (seconds + 1800) / 3600;
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 => format!("{} minutes", seconds / 60),
        _ => match hours {
            ..2 => "About an hour".into(),
            2..48 => format!("{hours} hours"),
            48..336 => format!("{} days", hours / 24),
            336..1440 => format!("{} weeks", hours / 24 / 7),
            1440..17_520 => format!("{} months", hours / 24 / 30),
            _ => format!("{} years", seconds / 3600 / 24 / 365),
        },
    }
}

/// A Unix time as Go prints it.
pub(crate) fn date(created: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");
    let date = OffsetDateTime::from_unix_timestamp(created).ok().and_then(|date| date.format(format).ok());
    date.unwrap_or_default()
}

/// The Unix time of a date as the engine writes it.
pub(crate) fn unix(date: &str) -> i64 {
    let format = &time::format_description::well_known::Rfc3339;
    OffsetDateTime::parse(date, format).map_or(0, OffsetDateTime::unix_timestamp)
}

/// `--since` and `--until`: a duration before now, a date, or seconds, as the engine takes them.
pub(crate) fn moment(given: &str) -> Result<String, String> {
    if given.is_empty()
        || given.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    {
        return Ok(given.to_owned());
    }
    if let Some(back) = duration(given) {
        let at = now() - back;
        return Ok(format!("{}.{:09}", at.unix_timestamp(), at.nanosecond()));
    }
    // What a date leaves out is zero, and UTC.
    let full = match given.len() {
        10 => format!("{given}T00:00:00Z"),
        16 => format!("{given}:00Z"),
        19 => format!("{given}Z"),
        _ => given.to_owned(),
    };
    let format = &time::format_description::well_known::Rfc3339;
    let at = OffsetDateTime::parse(&full, format)
        .map_err(|_| format!("failed to parse value as time or duration: \"{given}\""))?;
    Ok(format!("{}.{:09}", at.unix_timestamp(), at.nanosecond()))
}

/// A duration as Go writes it: `1h30m`, `1.5s`, `10ms`.
pub(crate) fn duration(given: &str) -> Option<time::Duration> {
    let (mut rest, mut total) = (given, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (!given.is_empty()).then(|| time::Duration::seconds_f64(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, said) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (172_800, "2 days"),
            (1_209_600, "2 weeks"),
            (5_184_000, "2 months"),
            (63_072_000, "2 years"),
        ] {
            assert_eq!(span(seconds), said, "{seconds}");
        }
    }

    #[test]
    fn moments() {
        assert_eq!(moment("1700000000").as_deref(), Ok("1700000000"));
        assert_eq!(moment("1970-01-01T00:00:05").as_deref(), Ok("5.000000000"));
        assert_eq!(moment("1970-01-02").as_deref(), Ok("86400.000000000"));
        assert!(moment("1h30m").unwrap_or_default().contains('.'));
        assert!(moment("yesterday").is_err());
        assert_eq!(duration("1h1.5s"), Some(time::Duration::seconds_f64(3601.5)));
        assert_eq!(duration("5"), None);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(ellipsis("12345", 5), "12345");
        assert_eq!(ellipsis("123456", 5), "1234…");
    }
}
