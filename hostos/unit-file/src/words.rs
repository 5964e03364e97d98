//! Words as systemd splits them: blanks separate, both kinds of quotes group (also in the middle of
//! a word), C escapes inside and outside of quotes. An unknown escape keeps its backslash.

/// Why a value cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A quote is open at the end.
    #[error("unbalanced quotes")]
    Unbalanced,
}

/// All words of a value.
///
/// # Errors
/// A quote is open at the end.
pub fn split_words(value: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut rest = value;
    while let Some((word, after)) = next_word(rest)? {
        words.push(word);
        rest = after;
    }
    Ok(words)
}

/// The next word and what follows it, or nothing at the end.
pub(crate) fn next_word(text: &str) -> Result<Option<(String, &str)>, WordsError> {
    let text = text.trim_start_matches(is_blank);
    if text.is_empty() {
        return Ok(None);
    }
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let after = at + c.len_utf8();
        match (c, quote) {
            ('\\', _) => {
                let (piece, used) = unescape(&text[after..]);
                word.push_str(&piece);
                at = after + used;
                continue;
            }
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => quote = Some(c),
            (c, None) if is_blank(c) => return Ok(Some((word, &text[at..]))),
            (c, None) => word.push(c),
        }
        at = after;
    }
    if quote.is_some() { Err(WordsError::Unbalanced) } else { Ok(Some((word, ""))) }
}

pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// What the escape behind a backslash stands for, and how many bytes of `text` it takes.
fn unescape(text: &str) -> (String, usize) {
    let Some(c) = text.chars().next() else {
        return ("\\".into(), 0);
    };
    let simple = match c {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        's' => ' ',
        '\\' | '"' | '\'' => c,
        'x' => return numeric(text, 1, 2, 16),
        'u' => return numeric(text, 1, 4, 16),
        'U' => return numeric(text, 1, 8, 16),
        '0'..='7' => return numeric(text, 0, 3, 8),
        _ => return (format!("\\{c}"), c.len_utf8()),
    };
    (simple.to_string(), 1)
}

fn numeric(text: &str, skip: usize, digits: usize, radix: u32) -> (String, usize) {
    let known = text
        .get(skip..skip + digits)
        .and_then(|digits| u32::from_str_radix(digits, radix).ok())
        .and_then(char::from_u32)
        .filter(|c| *c != '\0');
    match known {
        Some(c) => (c.to_string(), skip + digits),
        None => (format!("\\{}", &text[..1]), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: &str) -> Vec<String> {
        split_words(value).expect("balanced")
    }

    #[test]
    fn quotes_group_and_vanish() {
        assert_eq!(words(r#"a "b c" 'd "e' f"g h"i "" "#), ["a", "b c", "d \"e", "fg hi", ""]);
        assert_eq!(words("  \t "), Vec::<String>::new());
        assert_eq!(split_words("a 'b"), Err(WordsError::Unbalanced));
    }

    #[test]
    fn escapes() {
        assert_eq!(words(r"a\x20b c\td e\sf g\101 \u00e9"), ["a b", "c\td", "e f", "gA", "é"]);
        assert_eq!(words(r"\d+ \x4 a\"), [r"\d+", r"\x4", r"a\"], "unknown escapes stay");
        assert_eq!(words(r#"'it\'s' "say \"x\"""#), ["it's", "say \"x\""]);
    }
}
