//! Forms that Go's standard library gives texts, which Docker's outputs and file rules carry.

use std::fmt::Write;

/// `1m30s`, `1.5h`, `100ms` as nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += value * unit;
        rest = &rest[unit_end..];
    }
    if total > i64::MAX as f64 {
        return None;
    }
    Some(if negative { -(total as i64) } else { total as i64 })
}

/// How Go prints nanoseconds.
pub(crate) fn duration(nanos: i64) -> String {
    let number = |value: f64| {
        let text = format!("{value:.9}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", number(nanos as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{}ms", number(nanos as f64 / 1e6)),
        _ => {
            let (hours, rest) = (nanos / 3_600_000_000_000, nanos % 3_600_000_000_000);
            let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
            let seconds = number(rest as f64 / 1e9);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, _) => format!("{minutes}m{seconds}s"),
                _ => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `%q` of a string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(quoted, "\\x{:02x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `%q` of a list of strings: `["a" "b"]`.
pub(crate) fn quote_list(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| quote(text)).collect();
    format!("[{}]", quoted.join(" "))
}

/// `%q` of a small number, which Go takes for a character.
pub(crate) fn quote_number(number: i64) -> String {
    match u8::try_from(number) {
        Ok(byte) if byte.is_ascii_graphic() || byte == b' ' => format!("'{}'", byte as char),
        Ok(byte) if byte < 0x80 => match byte {
            7 => "'\\a'".into(),
            8 => "'\\b'".into(),
            9 => "'\\t'".into(),
            10 => "'\\n'".into(),
            11 => "'\\v'".into(),
            12 => "'\\f'".into(),
            13 => "'\\r'".into(),
            _ => format!("'\\x{byte:02x}'"),
        },
        _ => format!("'{}'", char::from_u32(u32::try_from(number).unwrap_or(0xfffd)).unwrap_or('\u{fffd}')),
    }
}

/// `filepath.Match`: `*` and `?` stop at slashes, `[a-z]`, `\` escapes. None for a malformed pattern.
pub(crate) fn matches(pattern: &str, name: &str) -> Option<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    matches_chars(&pattern, &name, 0)
}

fn matches_chars(pattern: &[char], name: &[char], depth: u32) -> Option<bool> {
    if depth > 64 {
        return Some(false);
    }
    let (mut pattern, mut name) = (pattern, name);
    loop {
        match pattern.first() {
            None => return Some(name.is_empty()),
            Some('*') => {
                let rest = &pattern[1..];
                for skipped in 0..=name.len() {
                    if skipped > 0 && name[skipped - 1] == '/' {
                        break;
                    }
                    if matches_chars(rest, &name[skipped..], depth + 1)? {
                        return Some(true);
                    }
                }
                return Some(false);
            }
            Some('?') => match name.first() {
                Some(c) if *c != '/' => pattern = &pattern[1..],
                _ => return Some(false),
            },
            Some('[') => {
                let (length, fits) = class(pattern, name.first().copied())?;
                if !fits {
                    return Some(false);
                }
                pattern = &pattern[length..];
            }
            Some('\\') => {
                if name.first() != Some(pattern.get(1)?) {
                    return Some(false);
                }
                pattern = &pattern[2..];
            }
            Some(c) => {
                if name.first() != Some(c) {
                    return Some(false);
                }
                pattern = &pattern[1..];
            }
        }
        name = name.get(1..)?;
    }
}

/// A bracket expression's length and whether the character is in it.
fn class(pattern: &[char], c: Option<char>) -> Option<(usize, bool)> {
    let negated = pattern.get(1) == Some(&'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    let start = at;
    loop {
        let mut low = *pattern.get(at)?;
        if low == ']' && at > start {
            break;
        }
        if low == '\\' {
            at += 1;
            low = *pattern.get(at)?;
        }
        at += 1;
        let mut high = low;
        if pattern.get(at) == Some(&'-') {
            high = *pattern.get(at + 1)?;
            at += 2;
        }
        found |= c.is_some_and(|c| low <= c && c <= high);
    }
    let fits = c.is_some_and(|c| c != '/') && found != negated;
    Some((at + 1, fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, nanos) in
            [("1s", 1_000_000_000), ("1m30s", 90_000_000_000), ("1.5ms", 1_500_000), ("0", 0)]
        {
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
        }
        assert_eq!((parse_duration("x"), parse_duration("1"), parse_duration("")), (None, None, None));
        for (nanos, text) in
            [(0, "0s"), (90_000_000_000, "1m30s"), (1_500_000_000, "1.5s"), (1_500_000, "1.5ms")]
        {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn globs() {
        let cases = [
            ("*.txt", "a.txt", true),
            ("*.txt", "d/a.txt", false),
            ("d/*", "d/a", true),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a]x", "ax", false),
            ("\\*", "*", true),
            ("*", "", true),
            ("a*b*c", "aXXbYYc", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), Some(expected), "{pattern} {name}");
        }
        assert_eq!(matches("[a", "a"), None);
    }

    #[test]
    fn quotes() {
        assert_eq!(quote_list(&["echo".into(), "a \"b\"".into()]), r#"["echo" "a \"b\""]"#);
        assert_eq!((quote_number(0), quote_number(3)), (r"'\x00'".to_owned(), r"'\x03'".to_owned()));
    }
}
