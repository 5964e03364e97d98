//! The argument forms of instructions: flags, JSON lists, words, name-value pairs.

/// Flags before the arguments, and the rest.
pub(super) fn flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let flag = &rest[..end];
        rest = rest[end..].trim_start();
        if flag == "--" {
            break;
        }
        flags.push(flag.to_owned());
    }
    (flags, rest)
}

/// A JSON list of strings; none if the text is anything else. An error if a list holds something else.
pub(super) fn json(text: &str) -> Result<Option<Vec<String>>, String> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err("when using JSON array syntax, arrays must be comprised of strings only".to_owned()),
    });
    strings.collect::<Result<_, _>>().map(Some)
}

/// JSON, or else words at white space.
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    Ok(json(text)?.unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect()))
}

/// Words with their quotes and escapes left in.
pub(super) fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape && quote != Some('\'') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `a=b c="d e"`, or the old `a everything else`.
pub(super) fn pairs(text: &str, escape: char, instruction: &str) -> Result<Vec<(String, String)>, String> {
    let words = quoted_words(text, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let Some((name, value)) = text.trim().split_once(char::is_whitespace) else {
            return Err(format!("{instruction} must have two arguments"));
        };
        return Ok(vec![(name.to_owned(), value.trim_start().to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value")),
    };
    words.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(flags("--from=x --chown=a:b c d"), (vec!["--from=x".into(), "--chown=a:b".into()], "c d"));
        assert_eq!(json(r#"["a","b"]"#), Ok(Some(vec!["a".into(), "b".into()])));
        assert_eq!(json(r#"["a" "b"]"#), Ok(None));
        assert!(json("[1]").is_err());
        let env = pairs(r#"A=1 B="two words" C=a\ b"#, '\\', "ENV").expect("fine");
        assert_eq!(env[1], ("B".into(), "\"two words\"".into()));
        assert_eq!(env[2], ("C".into(), "a\\ b".into()));
        assert_eq!(pairs("a b c", '\\', "ENV"), Ok(vec![("a".into(), "b c".into())]));
        assert_eq!(pairs("a", '\\', "ENV"), Err("ENV must have two arguments".into()));
    }
}
