//! `Environment=` values and the files of `EnvironmentFile=`.

use crate::command::expand_braced;
use crate::words::split_words;

/// May a variable have this name?
#[must_use]
pub fn valid_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The assignments of one `Environment=` value; words that are none are left out.
#[must_use]
pub fn parse_environment(value: &str) -> Vec<(String, String)> {
    split_words(value).unwrap_or_default().iter().filter_map(|word| assignment(word)).collect()
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    valid_variable_name(name).then(|| (name.to_owned(), value.to_owned()))
}

/// Replaces `${NAME}` and `$$` in a value that is one argument.
#[must_use]
pub fn expand_value(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    expand_braced(text, lookup)
}

/// The assignments of an environment file, in order. Lines that are none are left out; a later
/// assignment of a name is for the caller to prefer.
#[must_use]
pub fn parse_environment_file(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        let line_start = skip_blank_lines(&mut chars);
        match line_start {
            None => break,
            Some('#' | ';') => skip_comment(&mut chars),
            Some(_) => {
                let key: String = take_key(&mut chars);
                if chars.next_if_eq(&'=').is_some() {
                    let value = take_value(&mut chars);
                    if valid_variable_name(key.trim()) {
                        found.push((key.trim().to_owned(), value));
                    }
                }
            }
        }
    }
    found
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_blank_lines(chars: &mut Chars<'_>) -> Option<char> {
    while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
    chars.peek().copied()
}

/// A comment also goes on behind a backslash.
fn skip_comment(chars: &mut Chars<'_>) {
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '\n' | '\r' => return,
            _ => {}
        }
    }
}

fn take_key(chars: &mut Chars<'_>) -> String {
    let mut key = String::new();
    while let Some(c) = chars.next_if(|c| !matches!(c, '=' | '\n' | '\r')) {
        key.push(c);
    }
    key
}

/// A value up to the end of its line: quotes group and may span lines, `\` escapes and joins lines.
fn take_value(chars: &mut Chars<'_>) -> String {
    let mut value = String::new();
    // Blanks at the end of an unquoted value go, those inside stay.
    let mut keep = 0;
    let mut started = false;
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\r' => break,
            '\'' if !started || value.len() == keep => {
                take_quoted(chars, '\'', &mut value);
                keep = value.len();
            }
            '"' if !started || value.len() == keep => {
                take_quoted(chars, '"', &mut value);
                keep = value.len();
            }
            '\\' => match chars.next() {
                None | Some('\n' | '\r') => {}
                Some(escaped) => {
                    value.push(escaped);
                    keep = value.len();
                }
            },
            c if c.is_ascii_whitespace() => {
                if started {
                    value.push(c);
                }
                continue;
            }
            c => {
                value.push(c);
                keep = value.len();
            }
        }
        started = true;
    }
    value.truncate(keep);
    value
}

fn take_quoted(chars: &mut Chars<'_>, quote: char, value: &mut String) {
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return,
            '\\' if quote == '"' => match chars.next() {
                None | Some('\n') => {}
                Some(c @ ('"' | '\\' | '`' | '$')) => value.push(c),
                Some(c) => {
                    value.push('\\');
                    value.push(c);
                }
            },
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> String {
        let pairs = parse_environment_file(text);
        pairs.iter().map(|(k, v)| format!("{k}=<{v}>")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn assignments_may_be_quoted() {
        let parsed = parse_environment(r#"A=1 "B=two words" 'C=x y' D="a b" 1X=no nothing"#);
        let expected = [("A", "1"), ("B", "two words"), ("C", "x y"), ("D", "a b")];
        assert_eq!(parsed, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn files() {
        assert_eq!(file("A=1\n# c\n;d\n B = two words  \nC=\nno\nD=x"), "A=<1> B=<two words> C=<> D=<x>");
        assert_eq!(file("A=\"x y\"\nB='x \"y'\nC=\"a\nb\"\n"), "A=<x y> B=<x \"y> C=<a\nb>");
        assert_eq!(file("A=a\\\nb\nB=\"q\\\"q \\$x \\n\"\nC=a#b"), "A=<ab> B=<q\"q $x \\n> C=<a#b>");
        assert_eq!(file("# c\\\nA=1\nB=2"), "B=<2>", "a comment goes on behind a backslash");
        let joined = file("a=a\nb=b\\\nc\nd=d\\\ne\\\nf\ng=g\\ \nh=h\ni=i\\");
        assert_eq!(joined, "a=<a> b=<bc> d=<def> g=<g > h=<h> i=<i>");
        assert_eq!(file("#A=\"-d \\\n#--b \\\nB=1"), "", "nor does a comment end in its middle");
        assert_eq!(file("export A=1\nB=3"), "B=<3>");
    }
}
