//! RFC 3339 with nanoseconds, as Go's `RFC3339Nano` prints it in UTC.

use crate::sys;

/// Writes the current time; the second's text is kept between calls.
#[derive(Default)]
pub struct Clock {
    second: i64,
    text: Vec<u8>,
}

impl Clock {
    pub fn write_now(&mut self, out: &mut Vec<u8>) {
        self.write(out, sys::now());
    }

    fn write(&mut self, out: &mut Vec<u8>, nanos: i64) {
        let second = nanos.div_euclid(1_000_000_000);
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = second_text(second).into_bytes();
        }
        out.extend_from_slice(&self.text);
        let mut fraction = nanos.rem_euclid(1_000_000_000);
        if fraction != 0 {
            let mut digits = [b'0'; 9];
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (fraction % 10) as u8;
                fraction /= 10;
            }
            let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |at| at + 1);
            out.push(b'.');
            out.extend_from_slice(&digits[..end]);
        }
        out.push(b'Z');
    }
}

/// `2026-11-21T23:10:15`
fn second_text(second: i64) -> String {
    let (days, rest) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    // Days are counted in years that begin in March, so that the leap day is last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(nanos: i64) -> String {
        let mut out = Vec::new();
        Clock::default().write(&mut out, nanos);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments() {
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(text(1_795_302_615_120_000_000), "2026-11-21T23:10:15.12Z");
        assert_eq!(text(4_102_444_799_999_999_999), "2099-12-31T23:59:59.999999999Z");
        assert_eq!(text(1), "1970-01-01T00:00:00.000000001Z");
    }
}
