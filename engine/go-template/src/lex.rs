//! Text and actions apart, then an action into words.

use crate::TemplateError;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Action(Vec<Word>),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    /// `.a.b`, or `.` alone as an empty path.
    Field(Vec<String>),
    /// `.a.b` right after a `)`.
    Chain(Vec<String>),
    /// `$a.b`; `$` alone is the variable with the empty name.
    Variable(String, Vec<String>),
    /// A function or keyword.
    Name(String),
    Text(String),
    Number(f64),
    Bool(bool),
    Pipe,
    Open,
    Close,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

pub(crate) fn lex(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let mut text = &rest[..start];
        let mut body = &rest[start + 2..];
        let end = find_end(body).ok_or_else(|| TemplateError::Parse("an action is not closed".into()))?;
        rest = &body[end + 2..];
        body = &body[..end];
        if trim_next {
            text = text.trim_start();
        }
        if let Some(inner) = body.strip_prefix("- ") {
            (text, body) = (text.trim_end(), inner);
        }
        trim_next = body.ends_with(" -");
        body = body.strip_suffix(" -").unwrap_or(body);
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let body = body.trim();
        if !(body.starts_with("/*") && body.ends_with("*/")) {
            pieces.push(Piece::Action(words(body)?));
        }
    }
    let tail = if trim_next { rest.trim_start() } else { rest };
    if !tail.is_empty() {
        pieces.push(Piece::Text(tail.to_owned()));
    }
    Ok(pieces)
}

/// Where `}}` is, outside of string literals.
fn find_end(body: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            (None, b'"' | b'`') => quote = Some(bytes[at]),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn words(body: &str) -> Result<Vec<Word>, TemplateError> {
    let mut words = Vec::new();
    let mut chars = body.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            ' ' | '\t' | '\n' | '\r' => {
                chars.next();
            }
            '|' => {
                chars.next();
                words.push(Word::Pipe);
            }
            '(' => {
                chars.next();
                words.push(Word::Open);
            }
            ')' => {
                chars.next();
                words.push(Word::Close);
                if chars.peek() == Some(&'.') {
                    words.push(match bare(&mut chars)? {
                        Word::Field(path) if !path.is_empty() => Word::Chain(path),
                        _ => return Err(TemplateError::Parse("a `.` after `)` names no field".into())),
                    });
                }
            }
            ',' => {
                chars.next();
                words.push(Word::Comma);
            }
            '=' => {
                chars.next();
                words.push(Word::Assign);
            }
            ':' => {
                chars.next();
                if chars.next() != Some('=') {
                    return Err(TemplateError::Parse("expected `:=`".into()));
                }
                words.push(Word::Declare);
            }
            '"' | '`' => words.push(Word::Text(literal(&mut chars)?)),
            _ => words.push(bare(&mut chars)?),
        }
    }
    Ok(words)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn literal(chars: &mut Chars<'_>) -> Result<String, TemplateError> {
    let quote = chars.next().unwrap_or('"');
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Ok(text),
            '\\' if quote == '"' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(other @ ('"' | '\\')) => text.push(other),
                other => {
                    return Err(TemplateError::Parse(format!("unknown escape `\\{}`", other.unwrap_or(' '))));
                }
            },
            c => text.push(c),
        }
    }
    Err(TemplateError::Parse("a string is not closed".into()))
}

fn bare(chars: &mut Chars<'_>) -> Result<Word, TemplateError> {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !"|()\"`,:=".contains(*c)) {
        word.push(c);
    }
    let unknown = || TemplateError::Parse(format!("`{word}` is not understood"));
    if let Some(path) = word.strip_prefix('.') {
        return if path.is_empty() {
            Ok(Word::Field(Vec::new()))
        } else {
            keys(path).ok_or_else(unknown).map(Word::Field)
        };
    }
    if let Some(variable) = word.strip_prefix('$') {
        let (name, path) =
            variable.split_once('.').map_or((variable, None), |(name, path)| (name, Some(path)));
        let path = path.map_or(Some(Vec::new()), keys).ok_or_else(unknown)?;
        return if name.is_empty() || is_key(name) {
            Ok(Word::Variable(name.to_owned(), path))
        } else {
            Err(unknown())
        };
    }
    match word.as_str() {
        "true" | "false" => Ok(Word::Bool(word == "true")),
        _ if word.parse::<f64>().is_ok() && !word.starts_with(char::is_alphabetic) => {
            word.parse().map(Word::Number).map_err(|_| unknown())
        }
        _ if word.starts_with(char::is_alphabetic) && is_key(&word) => Ok(Word::Name(word)),
        _ => Err(unknown()),
    }
}

fn keys(path: &str) -> Option<Vec<String>> {
    path.split('.').map(|key| is_key(key).then(|| key.to_owned())).collect()
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_')
}
