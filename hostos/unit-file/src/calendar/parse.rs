//! Reading calendar expressions, by systemd's grammar: what it refuses is refused, and what it takes
//! for the same is the same.

use std::str::FromStr;

use super::{Calendar, CalendarError, Field, LAST_YEAR, Part, SECOND, WEEKDAYS};
use crate::civil::date_from_days;

type Reason = &'static str;

const SHORTHANDS: [(&str, &str); 12] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
];

/// What may be said of one field is bounded.
const MOST_PARTS: usize = 240;

impl FromStr for Calendar {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        parse(text).map_err(|reason| CalendarError { expression: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Calendar, Reason> {
    let utc = text
        .len()
        .checked_sub(4)
        .filter(|at| text.is_char_boundary(*at) && text[*at..].eq_ignore_ascii_case(" utc"));
    let text = &text[..utc.unwrap_or(text.len())];
    if text.is_empty() {
        return Err("it is empty");
    }
    let shorthand = SHORTHANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    let mut calendar = Calendar {
        weekdays: 0,
        years: vec![],
        months: vec![],
        days: vec![],
        from_end: false,
        hours: vec![],
        minutes: vec![],
        seconds: vec![],
        utc: utc.is_some(),
    };
    let mut reader = Reader { rest: shorthand.map_or(text, |(_, long)| long) };
    reader.weekdays(&mut calendar)?;
    if let Some(seconds) = reader.rest.strip_prefix('@') {
        calendar.set_moment(seconds)?;
        return Ok(calendar);
    }
    reader.date(&mut calendar)?;
    reader.time(&mut calendar)?;
    calendar.normalize();
    calendar.check()?;
    Ok(calendar)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn weekdays(&mut self, calendar: &mut Calendar) -> Result<(), Reason> {
        let (mut first, mut from) = (true, None);
        loop {
            let Some((day, length)) = weekday(self.rest) else {
                return if first { Ok(()) } else { Err("unknown weekday") };
            };
            self.rest = &self.rest[length..];
            if !self.rest.is_empty() && !self.rest.starts_with(['-', '.', ',', ' ']) {
                return Err("unknown weekday");
            }
            let start = from.unwrap_or(day);
            if start > day {
                return Err("a range of weekdays runs backwards");
            }
            (start..=day).for_each(|day| calendar.weekdays |= 1 << day);
            let in_range = from.take().is_some();
            if self.rest.starts_with(['.', '-']) {
                // A single dash is how ranges were written once.
                let range = self.rest.strip_prefix("..").or_else(|| self.rest.strip_prefix('-'));
                self.rest = range.filter(|_| !in_range).ok_or("a range of weekdays has two ends")?;
                from = Some(day);
            } else if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
            }
            if self.rest.is_empty() || self.rest.starts_with(' ') {
                self.skip_spaces();
                return if from.is_none() { Ok(()) } else { Err("a range of weekdays has two ends") };
            }
            first = false;
        }
    }

    /// Takes nothing if what follows is a time.
    fn date(&mut self, calendar: &mut Calendar) -> Result<(), Reason> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let before = self.rest;
        let first = self.field(false)?;
        if self.rest.is_empty() || self.rest.starts_with(':') {
            self.rest = before;
            return Ok(());
        }
        let from_end = self.dash()?;
        let second = self.field(false)?;
        if self.rest.is_empty() || self.rest.starts_with(' ') {
            (calendar.months, calendar.days, calendar.from_end) = (first, second, from_end);
        } else if from_end {
            return Err("`~` stands before the day");
        } else {
            calendar.from_end = self.dash()?;
            (calendar.years, calendar.months, calendar.days) = (first, second, self.field(false)?);
            if !self.rest.is_empty() && !self.rest.starts_with(' ') {
                return Err("a date has year, month and day");
            }
        }
        self.skip_spaces();
        Ok(())
    }

    /// A `-`, or a `~` that has days count from the end.
    fn dash(&mut self) -> Result<bool, Reason> {
        let from_end = self.rest.starts_with('~');
        self.rest = self.rest.strip_prefix(['-', '~']).ok_or("a date is written with `-`")?;
        Ok(from_end)
    }

    fn time(&mut self, calendar: &mut Calendar) -> Result<(), Reason> {
        let zero = vec![Part::once(0)];
        if self.rest.is_empty() {
            (calendar.hours, calendar.minutes, calendar.seconds) = (zero.clone(), zero.clone(), zero);
            return Ok(());
        }
        calendar.hours = self.field(false)?;
        self.rest = self.rest.strip_prefix(':').ok_or("a time needs hour and minute")?;
        calendar.minutes = self.field(false)?;
        calendar.seconds = match self.rest.strip_prefix(':') {
            Some(rest) => {
                self.rest = rest;
                self.field(true)?
            }
            None => zero,
        };
        if self.rest.is_empty() {
            return Ok(());
        }
        Err("only the time zone UTC is known, and nothing else may follow the time")
    }

    /// Parts up to the next separator; for seconds in microseconds.
    fn field(&mut self, seconds: bool) -> Result<Field, Reason> {
        if let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            // Any second means every whole second.
            let every_second = Part { start: 0, stop: None, repeat: SECOND };
            return Ok(if seconds { vec![every_second] } else { vec![] });
        }
        let mut field = Field::new();
        loop {
            field.push(self.part(seconds)?);
            match self.rest.strip_prefix(',') {
                None => return Ok(field),
                Some(_) if field.len() == MOST_PARTS => return Err("it has too many parts"),
                Some(rest) => self.rest = rest,
            }
        }
    }

    fn part(&mut self, seconds: bool) -> Result<Part, Reason> {
        let start = self.number(seconds)?;
        let (mut stop, mut repeat) = (None, 0);
        if let Some(rest) = self.rest.strip_prefix("..") {
            self.rest = rest;
            stop = Some(self.number(seconds)?);
            repeat = if seconds { SECOND } else { 1 };
        }
        if let Some(rest) = self.rest.strip_prefix('/') {
            self.rest = rest;
            repeat = self.number(seconds)?;
            if repeat == 0 {
                return Err("a repetition must be more than zero");
            }
        } else if seconds && stop.is_some_and(|stop| start + repeat > stop) {
            return Err("a range of seconds is shorter than a second");
        }
        if !self.rest.is_empty() && !self.rest.starts_with([' ', ',', '-', '~', ':']) {
            return Err("something odd follows a number");
        }
        Ok(Part { start, stop, repeat })
    }

    fn number(&mut self, seconds: bool) -> Result<i64, Reason> {
        let whole = self.digits();
        let number: i32 = whole.parse().map_err(|_| "not a number")?;
        if !seconds {
            return Ok(number.into());
        }
        let mut micros = i64::from(number) * SECOND;
        if self.rest.starts_with('.') && !self.rest.starts_with("..") {
            self.rest = &self.rest[1..];
            let fraction = self.digits();
            if fraction.is_empty() {
                return Err("a decimal point needs decimals");
            }
            let (kept, lost) = fraction.split_at(fraction.len().min(6));
            micros += format!("{kept:0<6}").parse::<i64>().map_err(|_| "not a number")?;
            micros += i64::from(lost.starts_with(|digit| digit >= '5'));
        }
        Ok(micros)
    }

    fn digits(&mut self) -> &str {
        let length = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }
}

/// The weekday at the start of `text`, from 0 for Monday, and the length of its name.
fn weekday(text: &str) -> Option<(u8, usize)> {
    let starts = |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    (0u8..).zip(WEEKDAYS).find_map(|(day, name)| {
        let length = if starts(name) { name.len() } else { 3 };
        starts(&name[..length]).then_some((day, length))
    })
}

impl Calendar {
    /// `@` and seconds since 1970.
    fn set_moment(&mut self, text: &str) -> Result<(), Reason> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("`@` stands before seconds since 1970");
        }
        let seconds: i64 = text.parse().map_err(|_| "so many seconds since 1970 are too many")?;
        let (year, month, day) = date_from_days(seconds / 86_400);
        if year > LAST_YEAR {
            return Err("so many seconds since 1970 are too many");
        }
        let one = |value: i64| vec![Part::once(value)];
        (self.years, self.months, self.days) = (one(year), one(month), one(day));
        (self.hours, self.minutes) = (one(seconds / 3600 % 24), one(seconds / 60 % 60));
        (self.seconds, self.utc) = (one(seconds % 60 * SECOND), true);
        Ok(())
    }

    fn normalize(&mut self) {
        if self.weekdays == 0x7f {
            self.weekdays = 0;
        }
        for part in &mut self.years {
            part.start = with_century(part.start);
            part.stop = part.stop.map(with_century);
        }
        self.from_end &= !self.days.is_empty();
        for (field, _, _) in self.fields() {
            for part in field.iter_mut() {
                part.shorten();
            }
            field.sort_unstable();
            field.dedup();
        }
    }

    /// Its fields, and what they may hold.
    fn fields(&mut self) -> [(&mut Field, i64, i64); 6] {
        // Short months have no 29th day from their end.
        let last_day = if self.from_end { 28 } else { 31 };
        [
            (&mut self.years, 1970, LAST_YEAR),
            (&mut self.months, 1, 12),
            (&mut self.days, 1, last_day),
            (&mut self.hours, 0, 23),
            (&mut self.minutes, 0, 59),
            (&mut self.seconds, 0, 60 * SECOND - 1),
        ]
    }

    fn check(&mut self) -> Result<(), Reason> {
        let from_end = self.from_end;
        for (index, (field, low, high)) in self.fields().into_iter().enumerate() {
            let turned = from_end && index == 2;
            if field.iter().any(|part| !part.is_within(low, high, turned)) {
                return Err("a number is out of its range");
            }
        }
        Ok(())
    }
}

const fn with_century(year: i64) -> i64 {
    match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    }
}

impl Part {
    /// Ends a range at its last repetition, and forgets one that never comes.
    fn shorten(&mut self) {
        let Some(stop) = self.stop else { return };
        let stop = if stop > self.start && self.repeat > 0 {
            stop - (stop - self.start) % self.repeat
        } else {
            stop
        };
        self.stop = Some(stop);
        if stop == self.start || (stop > self.start && self.start + self.repeat > stop) {
            (self.stop, self.repeat) = (None, 0);
        }
    }

    /// At least one repetition has to fit, too.
    fn is_within(&self, low: i64, high: i64, from_end: bool) -> bool {
        let within = |value: i64| (low..=high).contains(&value);
        let once_more = match self.stop {
            Some(stop) => within(stop) && self.start + self.repeat <= stop,
            None if from_end => self.start - self.repeat >= low,
            None => self.start + self.repeat <= high,
        };
        within(self.start) && self.repeat <= high - low && once_more
    }
}
