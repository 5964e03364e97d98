//! Sizes as people write them: `64m`, `1.5GiB`, `512`.

/// Bytes of a size; the units are powers of 1024, as for Docker's memory limits.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let value: f64 = number.parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    Some((value * f64::from(1u32 << (shift % 30)) * f64::from(1u32 << (shift / 30 * 30))) as u64)
}

/// `1.234kB`: a size with a decimal unit and four significant digits, as Docker shows it.
pub fn human(bytes: u64) -> String {
    with_precision(bytes, 4)
}

/// The same with three significant digits, as in lists of images.
pub fn with_precision(bytes: u64, digits: usize) -> String {
    in_units(bytes, 1000.0, ["B", "kB", "MB", "GB", "TB", "PB", "EB"], digits)
}

/// `1.205MiB`: four significant digits in powers of 1024, as Docker shows memory.
pub fn binary(bytes: u64) -> String {
    in_units(bytes, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

fn in_units(bytes: u64, base: f64, units: [&str; 7], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit < units.len() - 1 {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// As C's `%.NG` for numbers from 0 to 1024: no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole = if value >= 1000.0 {
        4
    } else if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let shown = format!("{value:.*}", digits.saturating_sub(whole));
    if shown.contains('.') { shown.trim_end_matches('0').trim_end_matches('.').to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("64m", 64 << 20), ("1.5GiB", 3 << 29), ("2kb", 2048), ("1 T", 1 << 40)]
        {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1..2"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(999), "999B");
        assert_eq!(human(1_234_567), "1.235MB");
        assert_eq!(with_precision(1_234_567, 3), "1.23MB");
        assert_eq!(with_precision(72_800_000, 3), "72.8MB");
        assert_eq!(human(2_000), "2kB");
        assert_eq!((binary(565_248).as_str(), binary(64 << 20).as_str()), ("552KiB", "64MiB"));
        assert_eq!((binary(1010), binary(25_276_461_875)), ("1010B".into(), "23.54GiB".into()));
    }
}
