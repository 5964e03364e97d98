//! JSON with positions: a small parser whose tree remembers where every value and key stands.
//!
//! It accepts what Go's `encoding/json` accepts, since that is what every Ignition author has tested
//! against: duplicate keys (the last one wins, objects are merged), lone surrogates (replaced), but no
//! byte order mark, no trailing text, no comments. It knows nothing of Ignition.

mod parser;
mod text;

pub(crate) use parser::parse;

/// A place in the source: line and column, both from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and the place of its first character.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What a JSON text can hold. Numbers stay text: only the reader knows which kind it wants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Spanned>),
    Object(Vec<Member>),
}

/// One `key: value` of an object, in the order of first appearance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) key_at: Position,
    pub(crate) value: Spanned,
}

/// Why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) at: Position,
    pub(crate) message: String,
}

impl Value {
    /// The kind of the value, as a noun with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

impl Spanned {
    /// The members if this is an object.
    pub(crate) fn members(&self) -> Option<&[Member]> {
        match &self.value {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The member of that name: the exact one, else one that differs only in case, as Go matches them.
    pub(crate) fn member(&self, key: &str) -> Option<&Member> {
        let members = self.members()?;
        members
            .iter()
            .find(|member| member.key == key)
            .or_else(|| members.iter().find(|member| member.key.eq_ignore_ascii_case(key)))
    }
}
