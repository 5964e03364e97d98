//! Small values: booleans, sizes, percentages.

/// `yes`, `true`, `1`, `on`, `y`, `t` and their opposites, in any case.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

const SIZES: [(&str, u64); 8] = [
    ("E", 1 << 60),
    ("P", 1 << 50),
    ("T", 1 << 40),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
    ("B", 1),
    ("", 1),
];

/// Bytes: a number with an optional fraction and one of `K M G T P E` (powers of 1024) or `B`; several of
/// them, the larger unit first, add up: `1G 500M`.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut units = &SIZES[..];
    let mut total: u64 = 0;
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    loop {
        let (whole, behind) = rest.split_at(digits(rest));
        let fraction = behind.strip_prefix('.').map(|behind| &behind[..digits(behind)]);
        let behind = behind[fraction.map_or(0, |fraction| 1 + fraction.len())..].trim_start();
        let at = units.iter().position(|(name, _)| behind.starts_with(name))?;
        let (name, factor) = units[at];
        let part = whole.parse::<u64>().ok()?.checked_mul(factor)?;
        total = total.checked_add(part)?.checked_add(fraction_of(fraction.unwrap_or_default(), factor)?)?;
        (rest, units) = (behind[name.len()..].trim_start(), &units[at + 1..]);
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// The decimals of a number of `factor` bytes.
fn fraction_of(decimals: &str, factor: u64) -> Option<u64> {
    if decimals.is_empty() {
        return Some(0);
    }
    let part: f64 = format!("0.{decimals}").parse().ok()?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a size is not exact in the first place"
    )]
    let part = (part * factor as f64) as u64;
    Some(part)
}

/// `12.5%` in hundredths of a percent (1250).
#[must_use]
pub fn parse_percent(text: &str) -> Option<u32> {
    let (whole, fraction) = match text.trim().strip_suffix('%')?.split_once('.') {
        None => (text.trim().strip_suffix('%')?, ""),
        Some(parts) => parts,
    };
    if fraction.len() > 2 {
        return None;
    }
    let hundredths: u32 = if fraction.is_empty() { 0 } else { format!("{fraction:0<2}").parse().ok()? };
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(hundredths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!((parse_bool("Yes"), parse_bool("off"), parse_bool("2")), (Some(true), Some(false), None));
        assert_eq!(parse_size("64M"), Some(64 << 20));
        assert_eq!(parse_size("1.5K"), Some(1536));
        assert_eq!(parse_size("1G 5M2K 7"), Some((1 << 30) + (5 << 20) + (2 << 10) + 7));
        assert_eq!(
            (parse_size("5M 1G"), parse_size("1 2"), parse_size("10.M")),
            (None, None, Some(10 << 20))
        );
        assert_eq!(
            (parse_size("99999999999999999999"), parse_size("5Q"), parse_size("")),
            (None, None, None)
        );
        assert_eq!(
            (parse_percent("12.5%"), parse_percent("200%"), parse_percent("5")),
            (Some(1250), Some(20_000), None)
        );
    }
}
