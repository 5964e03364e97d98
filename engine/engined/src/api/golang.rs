//! What is wrong with a piece of JSON, in the words of Go's decoder, which clients and their users know.

use serde_json::Error;
use serde_json::error::Category;

/// The sentence for an error in `text`. Types of values are not looked at here.
pub(super) fn problem(text: &[u8], error: &Error) -> String {
    match error.classify() {
        Category::Eof if text.trim_ascii().is_empty() => "got EOF while reading request body".into(),
        Category::Eof => "unexpected EOF".into(),
        Category::Syntax => syntax(text, error),
        Category::Data | Category::Io => error.to_string(),
    }
}

/// Whether a whole value was read, and then came more.
pub(super) fn is_trailing(error: &Error) -> bool {
    error.classify() == Category::Syntax && error.to_string().starts_with("trailing characters")
}

fn syntax(text: &[u8], error: &Error) -> String {
    let Some(found) = character(text, error) else { return error.to_string() };
    let said = error.to_string();
    let place = [
        ("expected value", "looking for beginning of value"),
        ("key must be a string", "looking for beginning of object key string"),
        ("trailing comma", "looking for beginning of value"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("trailing characters", "after top-level value"),
    ];
    let place = place.iter().find(|(start, _)| said.starts_with(start));
    place.map_or(said.clone(), |(_, place)| format!("invalid character {found:?} {place}"))
}

fn character(text: &[u8], error: &Error) -> Option<char> {
    let line = text.split(|b| *b == b'\n').nth(error.line().checked_sub(1)?)?;
    let rest = line.get(error.column().saturating_sub(1)..)?;
    String::from_utf8_lossy(rest).chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_says_it() {
        for (text, want) in [
            ("", "got EOF while reading request body"),
            ("{", "unexpected EOF"),
            ("{\"a\":", "unexpected EOF"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{x", "invalid character 'x' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
            assert_eq!(problem(text.as_bytes(), &error), want, "{text}");
        }
        assert!(is_trailing(&serde_json::from_str::<serde_json::Value>("{} x").unwrap_err()));
    }
}
