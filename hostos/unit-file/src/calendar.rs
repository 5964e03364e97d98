//! Calendar expressions of `OnCalendar=`: `Mon..Fri *-*-* 12:00/5:00`, `daily`, `*:0/15`.
//!
//! All in UTC: machines of this project keep no other zone, and another zone is refused.

mod next;
mod parse;

use std::fmt;

/// A set of moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Bit 0 is Monday; none set means any day.
    weekdays: u8,
    years: Field,
    months: Field,
    days: Field,
    /// Days count from the end of the month.
    from_end: bool,
    hours: Field,
    minutes: Field,
    /// In microseconds.
    seconds: Field,
    utc: bool,
}

/// Why a text is no calendar expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("calendar expression `{expression}` is not valid: {reason}")]
pub struct CalendarError {
    expression: String,
    reason: &'static str,
}

/// Alternatives; none means any.
type Field = Vec<Part>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    start: i64,
    stop: Option<i64>,
    repeat: i64,
}

impl Part {
    /// One value, never repeated.
    const fn once(start: i64) -> Self {
        Self { start, stop: None, repeat: 0 }
    }
}

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const SECOND: i64 = 1_000_000;
const LAST_YEAR: i64 = 2199;

impl fmt::Display for Calendar {
    /// The normalized form, as `systemd-analyze calendar` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weekdays != 0 {
            write!(f, "{} ", weekday_text(self.weekdays))?;
        }
        let dash = if self.from_end { '~' } else { '-' };
        write!(f, "{}-{}{dash}{} ", text(&self.years, 4), text(&self.months, 2), text(&self.days, 2))?;
        write!(f, "{}:{}:{}", text(&self.hours, 2), text(&self.minutes, 2), seconds_text(&self.seconds))?;
        if self.utc { f.write_str(" UTC") } else { Ok(()) }
    }
}

fn weekday_text(bits: u8) -> String {
    let name = |day: usize| {
        let full = WEEKDAYS[day];
        format!("{}{}", full[..1].to_ascii_uppercase(), &full[1..3])
    };
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for day in (0..7).filter(|day| bits & (1 << day) != 0) {
        match runs.last_mut() {
            Some((_, to)) if *to + 1 == day => *to = day,
            _ => runs.push((day, day)),
        }
    }
    let texts = runs.into_iter().map(|(from, to)| match to - from {
        0 => name(from),
        1 => format!("{},{}", name(from), name(to)),
        _ => format!("{}..{}", name(from), name(to)),
    });
    texts.collect::<Vec<_>>().join(",")
}

fn text(field: &Field, width: usize) -> String {
    if field.is_empty() {
        return "*".into();
    }
    let one = |part: &Part| {
        let mut out = format!("{:0width$}", part.start);
        if let Some(stop) = part.stop {
            out.push_str(&format!("..{stop:0width$}"));
        }
        if part.repeat > 0 && !(part.stop.is_some() && part.repeat == 1) {
            out.push_str(&format!("/{}", part.repeat));
        }
        out
    };
    field.iter().map(one).collect::<Vec<_>>().join(",")
}

fn seconds_text(field: &Field) -> String {
    let value = |micros: i64, width: usize| match micros % SECOND {
        0 => format!("{:0width$}", micros / SECOND),
        rest => format!("{:0width$}.{rest:06}", micros / SECOND),
    };
    let one = |part: &Part| {
        if *part == (Part { start: 0, stop: None, repeat: SECOND }) {
            return "*".to_owned();
        }
        let mut out = value(part.start, 2);
        if let Some(stop) = part.stop {
            out.push_str(&format!("..{}", value(stop, 2)));
        }
        if part.repeat > 0 && !(part.stop.is_some() && part.repeat == SECOND) {
            out.push_str(&format!("/{}", value(part.repeat, 1)));
        }
        out
    };
    field.iter().map(one).collect::<Vec<_>>().join(",")
}
