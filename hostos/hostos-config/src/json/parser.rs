//! Recursive descent over one document, with a bound on nesting.

use super::text::Text;
use super::{Member, Position, Spanned, SyntaxError, Value};

/// Deeper nesting than any config has, shallow enough for every stack.
const MAX_DEPTH: usize = 200;

/// The tree of a whole document.
pub(crate) fn parse(source: &[u8]) -> Result<Spanned, SyntaxError> {
    let mut parser = Parser { text: Text::new(source), depth: 0 };
    parser.text.skip_space();
    let document = parser.value()?;
    parser.text.skip_space();
    match parser.text.peek() {
        None => Ok(document),
        Some(character) => {
            Err(parser.error(format!("unexpected {} after the end of the document", name(character))))
        }
    }
}

struct Parser {
    text: Text,
    depth: usize,
}

impl Parser {
    fn value(&mut self) -> Result<Spanned, SyntaxError> {
        let at = self.text.at();
        let value = match self.text.peek() {
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::array)?,
            Some('"') => Value::String(self.string()?),
            Some('-' | '0'..='9') => Value::Number(self.number()?),
            Some(character) if character.is_ascii_alphabetic() => self.word(at)?,
            Some(character) => return Err(self.error(format!("expected a value, found {}", name(character)))),
            None => return Err(self.error("expected a value, found the end of the text".into())),
        };
        Ok(Spanned { at, value })
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Value, SyntaxError>) -> Result<Value, SyntaxError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Result<Value, SyntaxError> {
        self.text.advance();
        let mut members: Vec<Member> = Vec::new();
        self.text.skip_space();
        if self.text.peek() == Some('}') {
            self.text.advance();
            return Ok(Value::Object(members));
        }
        loop {
            self.text.skip_space();
            let key_at = self.text.at();
            if self.text.peek() != Some('"') {
                return Err(self.expected("a key in double quotes"));
            }
            let key = self.string()?;
            self.text.skip_space();
            if self.text.peek() != Some(':') {
                return Err(self.expected("`:` after the key"));
            }
            self.text.advance();
            self.text.skip_space();
            let value = self.value()?;
            insert(&mut members, Member { key, key_at, value });
            self.text.skip_space();
            match self.text.peek() {
                Some(',') => self.text.advance(),
                Some('}') => {
                    self.text.advance();
                    return Ok(Value::Object(members));
                }
                _ => return Err(self.expected("`,` or `}`")),
            };
        }
    }

    fn array(&mut self) -> Result<Value, SyntaxError> {
        self.text.advance();
        let mut items = Vec::new();
        self.text.skip_space();
        if self.text.peek() == Some(']') {
            self.text.advance();
            return Ok(Value::Array(items));
        }
        loop {
            self.text.skip_space();
            items.push(self.value()?);
            self.text.skip_space();
            match self.text.peek() {
                Some(',') => self.text.advance(),
                Some(']') => {
                    self.text.advance();
                    return Ok(Value::Array(items));
                }
                _ => return Err(self.expected("`,` or `]`")),
            };
        }
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        let start = self.text.at();
        self.text.advance();
        let mut string = String::new();
        loop {
            let at = self.text.at();
            match self.text.advance() {
                None => {
                    return Err(SyntaxError {
                        at: start,
                        message: "this string has no closing quote".into(),
                    });
                }
                Some('"') => return Ok(string),
                Some('\\') => self.escape(at, &mut string)?,
                Some(character) if character < ' ' => {
                    return Err(SyntaxError {
                        at,
                        message: format!("{} must be escaped inside a string", name(character)),
                    });
                }
                Some(character) => string.push(character),
            }
        }
    }

    fn escape(&mut self, at: Position, string: &mut String) -> Result<(), SyntaxError> {
        let character = match self.text.advance() {
            Some(character @ ('"' | '\\' | '/')) => character,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode(at, string),
            Some(other) => {
                return Err(SyntaxError {
                    at,
                    message: format!("unknown escape: backslash and {}", name(other)),
                });
            }
            None => return Err(SyntaxError { at, message: "the text ends inside an escape".into() }),
        };
        string.push(character);
        Ok(())
    }

    fn unicode(&mut self, at: Position, string: &mut String) -> Result<(), SyntaxError> {
        let first = self.four_digits(at)?;
        let mut pending = Some(first);
        while let Some(unit) = pending.take() {
            let follows = self.text.peek() == Some('\\') && (0xd800..0xdc00).contains(&unit);
            if !follows {
                string.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
                break;
            }
            let at = self.text.at();
            self.text.advance();
            if self.text.peek() != Some('u') {
                string.push(char::REPLACEMENT_CHARACTER);
                return self.escape(at, string);
            }
            self.text.advance();
            let second = self.four_digits(at)?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00);
                string.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            } else {
                string.push(char::REPLACEMENT_CHARACTER);
                pending = Some(second);
            }
        }
        Ok(())
    }

    fn four_digits(&mut self, at: Position) -> Result<u32, SyntaxError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.text.advance().and_then(|character| character.to_digit(16));
            let Some(digit) = digit else {
                return Err(SyntaxError { at, message: "`\\u` needs four hexadecimal digits".into() });
            };
            unit = unit * 16 + digit;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<String, SyntaxError> {
        let at = self.text.at();
        let number = self.text.take_while(|character| {
            character.is_ascii_digit() || matches!(character, '-' | '+' | '.' | 'e' | 'E')
        });
        if is_number(&number) {
            Ok(number)
        } else {
            Err(SyntaxError { at, message: format!("`{number}` is not a number") })
        }
    }

    fn word(&mut self, at: Position) -> Result<Value, SyntaxError> {
        let word = self.text.take_while(|character| character.is_ascii_alphanumeric());
        match word.as_str() {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(SyntaxError { at, message: format!("expected a value, found `{word}`") }),
        }
    }

    fn expected(&self, what: &str) -> SyntaxError {
        match self.text.peek() {
            Some(character) => self.error(format!("expected {what}, found {}", name(character))),
            None => self.error(format!("expected {what}, found the end of the text")),
        }
    }

    fn error(&self, message: String) -> SyntaxError {
        SyntaxError { at: self.text.at(), message }
    }
}

/// Adds a member; a key seen before takes the new value, and two objects become one.
fn insert(members: &mut Vec<Member>, new: Member) {
    let Some(old) = members.iter_mut().find(|member| member.key == new.key) else {
        members.push(new);
        return;
    };
    match (&mut old.value.value, new.value.value) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|member| insert(into, member))
        }
        (into, from) => {
            *into = from;
            old.value.at = new.value.at;
        }
    }
}

/// Whether a text is a number as RFC 8259 has it.
fn is_number(text: &str) -> bool {
    let rest = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

/// A character as a person would name it.
fn name(character: char) -> String {
    match character {
        '\u{feff}' => "a byte order mark".into(),
        '\n' => "a line break".into(),
        '\t' => "a tab".into(),
        character if character.is_control() => {
            format!("the control character U+{:04X}", u32::from(character))
        }
        character => format!("`{character}`"),
    }
}
