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

/// Bytes: a number with an optional fraction and one of `K M G T P E` (powers of 1024) or `B`.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let factor: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        "P" => 1 << 50,
        "E" => 1 << 60,
        _ => return None,
    };
    let number = &text[..digits];
    match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(factor),
        Some((whole, fraction)) => {
            let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
            let part: f64 = format!("0.{fraction}").parse().ok()?;
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a fraction of a size is not exact in the first place"
            )]
            let part = (part * factor as f64) as u64;
            whole.checked_add(part)
        }
    }
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
