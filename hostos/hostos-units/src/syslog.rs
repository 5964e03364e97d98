//! Messages of syslog(3): `<13>Nov 21 23:18:30 logger[7]: text`.

/// Level, program and text of a message; what cannot be told apart is text.
pub(crate) fn parse(message: &str) -> (u8, String, String) {
    let message = message.trim_end_matches(['\n', '\0']);
    let (level, rest) = message
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
        .and_then(|(number, rest)| Some((number.parse::<u32>().ok()? & 7, rest)))
        .unwrap_or((5, message));
    let rest = without_time(rest);
    let level = u8::try_from(level).unwrap_or(5);
    match rest.split_once(": ") {
        Some((tag, text)) if !tag.is_empty() && !tag.contains(' ') => {
            let program = tag.split('[').next().unwrap_or(tag);
            (level, program.to_owned(), text.to_owned())
        }
        _ => (level, "syslog".to_owned(), rest.to_owned()),
    }
}

/// A time of the old form has exactly 15 characters and a blank.
fn without_time(text: &str) -> &str {
    let bytes = text.as_bytes();
    let is_time = bytes.len() > 16
        && bytes[3] == b' '
        && bytes[6] == b' '
        && bytes[9] == b':'
        && bytes[12] == b':'
        && bytes[15] == b' ';
    if is_time { text.get(16..).unwrap_or(text) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let expect = |level, program: &str, text: &str| (level, program.to_owned(), text.to_owned());
        assert_eq!(parse("<11>Nov 21 23:18:30 logger[7]: a: b\n"), expect(3, "logger", "a: b"));
        assert_eq!(parse("<14>cron: x"), expect(6, "cron", "x"));
        assert_eq!(parse("no level at all"), expect(5, "syslog", "no level at all"));
        assert_eq!(
            parse("<x>\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"),
            expect(5, "syslog", "<x>\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}")
        );
    }
}
