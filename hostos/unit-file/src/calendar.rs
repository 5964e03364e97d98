//! Calendar expressions of `OnCalendar=`: `Mon..Fri *-*-* 12:00/5:00`, `daily`, `*:0/15`.
//!
//! All in UTC: machines of this project keep no other zone, and another zone is refused.

use std::fmt;
use std::str::FromStr;

use crate::civil::{date_from_days, days_from_date, days_in_month, weekday};

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

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const SECOND: i64 = 1_000_000;
const LAST_YEAR: i64 = 2199;

const SHORTHANDS: [(&str, &str); 11] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
];

impl FromStr for Calendar {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        parse(text.trim()).map_err(|reason| CalendarError { expression: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Calendar, &'static str> {
    let (text, utc) = match text.strip_suffix("UTC").filter(|rest| rest.is_empty() || rest.ends_with(' ')) {
        Some(rest) => (rest.trim(), true),
        None => (text, false),
    };
    let lower = text.to_ascii_lowercase();
    let text = SHORTHANDS.iter().find(|(name, _)| *name == lower).map_or(text, |(_, long)| long);
    if text.is_empty() {
        return Err("it is empty");
    }
    let mut calendar = Calendar {
        weekdays: 0,
        years: vec![],
        months: vec![],
        days: vec![],
        from_end: false,
        hours: vec![],
        minutes: vec![],
        seconds: vec![],
        utc,
    };
    let mut parts = text.split_ascii_whitespace().peekable();
    if let Some(days) = parts.next_if(|part| part.starts_with(|c: char| c.is_ascii_alphabetic())) {
        calendar.weekdays = parse_weekdays(days)?;
    }
    if let Some(date) = parts.next_if(|part| !part.contains(':')) {
        calendar.parse_date(date)?;
    }
    match parts.next() {
        Some(time) => calendar.parse_time(time)?,
        None => calendar.set_midnight(),
    }
    match parts.next() {
        Some(_) => Err("only the time zone UTC is known, and nothing may follow it"),
        None => Ok(calendar),
    }
}

fn parse_weekdays(text: &str) -> Result<u8, &'static str> {
    let mut bits = 0;
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let (from, to) = item.split_once("..").or_else(|| item.split_once('-')).unwrap_or((item, item));
        let (from, to) = (weekday_index(from)?, weekday_index(to)?);
        if from > to {
            return Err("a range of weekdays runs backwards");
        }
        for day in from..=to {
            bits |= 1 << day;
        }
    }
    Ok(if bits == 0x7f { 0 } else { bits })
}

fn weekday_index(text: &str) -> Result<usize, &'static str> {
    let lower = text.to_ascii_lowercase();
    let matches = |full: &&str| **full == *lower || (lower.len() == 3 && full.starts_with(&lower));
    WEEKDAYS.iter().position(matches).ok_or("unknown weekday")
}

impl Calendar {
    fn set_midnight(&mut self) {
        let zero = vec![Part { start: 0, stop: None, repeat: 0 }];
        (self.hours, self.minutes, self.seconds) = (zero.clone(), zero.clone(), zero);
    }

    fn parse_date(&mut self, text: &str) -> Result<(), &'static str> {
        let (front, day) = match text.split_once('~') {
            Some((front, day)) => {
                self.from_end = true;
                (front, day)
            }
            None => text.rsplit_once('-').ok_or("a date needs at least month and day")?,
        };
        let (year, month) = front.rsplit_once('-').unwrap_or(("*", front));
        self.years = parse_field(year, 1970, LAST_YEAR, 1970, false)?;
        self.months = parse_field(month, 1, 12, 1, false)?;
        self.days = parse_field(day, 1, 31, 1, false)?;
        Ok(())
    }

    fn parse_time(&mut self, text: &str) -> Result<(), &'static str> {
        let mut parts = text.split(':');
        let hour = parts.next().unwrap_or_default();
        let minute = parts.next().ok_or("a time needs hour and minute")?;
        let second = parts.next().unwrap_or("0");
        if parts.next().is_some() {
            return Err("a time has three parts at most");
        }
        self.hours = parse_field(hour, 0, 23, 0, false)?;
        self.minutes = parse_field(minute, 0, 59, 0, false)?;
        self.seconds = parse_field(second, 0, 60 * SECOND - 1, 0, true)?;
        Ok(())
    }

    /// The first moment later than `after`, both in microseconds since 1970 UTC.
    #[must_use]
    pub fn next_after(&self, after: i64) -> Option<i64> {
        let mut at = Moment::from_micros(after.max(0) + 1);
        // Each turn moves at least to the next candidate; 200 years of days are enough.
        for _ in 0..200 * 366 {
            match self.step(&mut at) {
                Step::Found => return Some(at.to_micros()),
                Step::Again => {}
                Step::Never => return None,
            }
        }
        None
    }

    fn step(&self, at: &mut Moment) -> Step {
        match first_match(&self.years, at.year) {
            Some(year) if year <= LAST_YEAR => at.raise_year(year),
            _ => return Step::Never,
        }
        match first_match(&self.months, at.month).filter(|month| *month <= 12) {
            Some(month) => at.raise_month(month),
            None => {
                at.raise_year(at.year + 1);
                return Step::Again;
            }
        }
        match self.first_day(at) {
            Some(day) => at.raise_day(day),
            None => {
                at.next_month();
                return Step::Again;
            }
        }
        if self.weekdays != 0 && self.weekdays & (1 << weekday(at.year, at.month, at.day)) == 0 {
            at.next_day();
            return Step::Again;
        }
        self.step_time(at)
    }

    fn step_time(&self, at: &mut Moment) -> Step {
        match first_match(&self.hours, at.hour).filter(|hour| *hour < 24) {
            Some(hour) => at.raise_hour(hour),
            None => {
                at.next_day();
                return Step::Again;
            }
        }
        match first_match(&self.minutes, at.minute).filter(|minute| *minute < 60) {
            Some(minute) => at.raise_minute(minute),
            None => {
                at.next_hour();
                return Step::Again;
            }
        }
        match first_match(&self.seconds, at.micros).filter(|micros| *micros < 60 * SECOND) {
            Some(micros) => {
                at.micros = micros;
                Step::Found
            }
            None => {
                at.next_minute();
                Step::Again
            }
        }
    }

    fn first_day(&self, at: &Moment) -> Option<i64> {
        let last = days_in_month(at.year, at.month);
        if !self.from_end {
            return first_match(&self.days, at.day).filter(|day| *day <= last);
        }
        (at.day..=last).find(|day| first_match(&self.days, last - day + 1) == Some(last - day + 1))
    }
}

enum Step {
    Found,
    Again,
    Never,
}

struct Moment {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    micros: i64,
}

impl Moment {
    fn from_micros(micros: i64) -> Self {
        let minutes = micros.div_euclid(60 * SECOND);
        let (year, month, day) = date_from_days(minutes.div_euclid(1440));
        let minute = minutes.rem_euclid(1440);
        Self {
            year,
            month,
            day,
            hour: minute / 60,
            minute: minute % 60,
            micros: micros.rem_euclid(60 * SECOND),
        }
    }

    fn to_micros(&self) -> i64 {
        let days = days_from_date(self.year, self.month, self.day);
        ((days * 24 + self.hour) * 60 + self.minute) * 60 * SECOND + self.micros
    }

    fn raise_year(&mut self, year: i64) {
        if year > self.year {
            self.year = year;
            self.raise_to_start(1);
        }
    }

    fn raise_month(&mut self, month: i64) {
        if month > self.month {
            self.raise_to_start(month);
        }
    }

    fn raise_to_start(&mut self, month: i64) {
        self.month = month;
        self.day = 1;
        self.start_of_day();
    }

    fn raise_day(&mut self, day: i64) {
        if day > self.day {
            self.day = day;
            self.start_of_day();
        }
    }

    fn start_of_day(&mut self) {
        (self.hour, self.minute, self.micros) = (0, 0, 0);
    }

    fn raise_hour(&mut self, hour: i64) {
        if hour > self.hour {
            (self.hour, self.minute, self.micros) = (hour, 0, 0);
        }
    }

    fn raise_minute(&mut self, minute: i64) {
        if minute > self.minute {
            (self.minute, self.micros) = (minute, 0);
        }
    }

    fn next_month(&mut self) {
        if self.month == 12 {
            self.raise_year(self.year + 1);
        } else {
            self.raise_month(self.month + 1);
        }
    }

    fn next_day(&mut self) {
        if self.day >= days_in_month(self.year, self.month) {
            self.next_month();
        } else {
            self.raise_day(self.day + 1);
        }
    }

    fn next_hour(&mut self) {
        if self.hour >= 23 {
            self.next_day();
        } else {
            self.raise_hour(self.hour + 1);
        }
    }

    fn next_minute(&mut self) {
        if self.minute >= 59 {
            self.next_hour();
        } else {
            self.raise_minute(self.minute + 1);
        }
    }
}

fn parse_field(text: &str, low: i64, high: i64, first: i64, seconds: bool) -> Result<Field, &'static str> {
    if text == "*" {
        // Any second means every whole second.
        let every_second = Part { start: 0, stop: None, repeat: SECOND };
        return Ok(if seconds { vec![every_second] } else { vec![] });
    }
    let mut parts = text
        .split(',')
        .map(|item| parse_part(item, low, high, first, seconds))
        .collect::<Result<Field, _>>()?;
    parts.sort_unstable();
    parts.dedup();
    Ok(parts)
}

fn parse_part(text: &str, low: i64, high: i64, first: i64, seconds: bool) -> Result<Part, &'static str> {
    let (range, repeat) = match text.split_once('/') {
        Some((range, repeat)) => (range, number(repeat, seconds)?.max(0)),
        None => (text, 0),
    };
    if text.contains('/') && repeat == 0 {
        return Err("a repetition must be more than zero");
    }
    let (start, stop) = match range.split_once("..") {
        _ if range == "*" => (first, None),
        Some((start, stop)) => (number(start, seconds)?, Some(number(stop, seconds)?)),
        None => (number(range, seconds)?, None),
    };
    if start < low || start > high || stop.is_some_and(|stop| stop < start || stop > high) {
        return Err("a number is out of its range");
    }
    let repeat = if repeat == 0 && stop.is_some() { if seconds { SECOND } else { 1 } } else { repeat };
    Ok(Part { start, stop, repeat })
}

fn number(text: &str, seconds: bool) -> Result<i64, &'static str> {
    let plain = |text: &str| match text.len() {
        1..=9 if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<i64>().map_err(|_| "not a number"),
        _ => Err("not a number"),
    };
    if !seconds {
        return plain(text);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > 6 {
        return Err("seconds have six decimals at most");
    }
    Ok(plain(whole)? * SECOND + plain(&format!("{fraction:0<6}"))?)
}

/// The least value of the field that is not below `from`.
fn first_match(field: &Field, from: i64) -> Option<i64> {
    if field.is_empty() {
        return Some(from);
    }
    field.iter().filter_map(|part| part.first_from(from)).min()
}

impl Part {
    fn first_from(&self, from: i64) -> Option<i64> {
        if from <= self.start {
            return Some(self.start);
        }
        if self.repeat == 0 {
            return None;
        }
        let steps = (from - self.start + self.repeat - 1) / self.repeat;
        let found = self.start + steps * self.repeat;
        self.stop.is_none_or(|stop| found <= stop).then_some(found)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        text.parse::<Calendar>().map_or_else(|error| error.to_string(), |calendar| calendar.to_string())
    }

    /// The next moment after Sat 2026-11-21 23:18:30 UTC.
    fn next(text: &str) -> String {
        let after = (days_from_date(2026, 11, 21) * 86_400 + 23 * 3600 + 18 * 60 + 30) * SECOND;
        match text.parse::<Calendar>().expect("valid").next_after(after).map(Moment::from_micros) {
            None => "never".into(),
            Some(m) => format!(
                "{}-{:02}-{:02} {:02}:{:02}:{:02}",
                m.year,
                m.month,
                m.day,
                m.hour,
                m.minute,
                m.micros / SECOND
            ),
        }
    }

    #[test]
    fn normalized_as_systemd_does() {
        for (text, expected) in [
            ("daily", "*-*-* 00:00:00"),
            ("Mon..Fri *-*-* 12:00/5:00", "Mon..Fri *-*-* 12:00/5:00"),
            ("2003-02-29", "2003-02-29 00:00:00"),
            ("*:0/15", "*-*-* *:00/15:00"),
            ("Sat,Sun 12-05 08:05:40", "Sat,Sun *-12-05 08:05:40"),
            ("*-*~3", "*-*~03 00:00:00"),
            ("quarterly", "*-01,04,07,10-01 00:00:00"),
            ("2..4:*", "*-*-* 02..04:*:00"),
            ("12:00 UTC", "*-*-* 12:00:00 UTC"),
            ("*-*-* *:*:00.5", "*-*-* *:*:00.500000"),
            ("Mon-Wed", "Mon..Wed *-*-* 00:00:00"),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
    }

    #[test]
    fn next_moments_as_systemd_finds_them() {
        for (text, expected) in [
            ("Mon..Fri *-*-* 12:00/5:00", "2026-11-23 12:00:00"),
            ("daily", "2026-11-22 00:00:00"),
            ("2003-02-29", "never"),
            ("*:0/15", "2026-11-21 23:30:00"),
            ("Sat,Sun 12-05 08:05:40", "2026-12-05 08:05:40"),
            ("*-*~3", "2026-11-28 00:00:00"),
            ("Mon *-05~03", "2028-05-29 00:00:00"),
            ("quarterly", "2027-01-01 00:00:00"),
            ("12-5 10:00/2:30", "2026-12-05 10:00:30"),
            ("*-2-29", "2028-02-29 00:00:00"),
            ("*:*:*", "2026-11-21 23:18:31"),
        ] {
            assert_eq!(next(text), expected, "{text}");
        }
    }

    #[test]
    fn bad_expressions() {
        for bad in ["", "x", "25:00", "*-13-01", "Fri..Mon", "12:00 Europe/Berlin", "1:2:3:4", "*:0/0", "12"]
        {
            assert!(bad.parse::<Calendar>().is_err(), "{bad}");
        }
    }
}
