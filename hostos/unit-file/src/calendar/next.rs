//! Moments of a calendar expression: the next one after another.

use super::{Calendar, Field, LAST_YEAR, Part, SECOND};
use crate::civil::{date_from_days, days_from_date, days_in_month, weekday};

impl Calendar {
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
        // The third last day has number three; a repetition runs on from there to the month's end.
        let day = |from_end: i64| last + 1 - from_end;
        let turned = |part: &Part| match part.stop {
            Some(stop) => Part { start: day(stop), stop: Some(day(part.start)), repeat: part.repeat },
            None => Part { start: day(part.start), ..*part },
        };
        let days: Field = self.days.iter().map(turned).collect();
        first_match(&days, at.day).filter(|day| *day <= last)
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
