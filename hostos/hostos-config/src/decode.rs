//! From a tree with positions to typed values, by the schema of one minor version.
//!
//! Keys that the schema does not have become warnings, `null` is the same as absent, and numbers must
//! be integers. A wrong type ends the decoding with its place.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use crate::diagnostic::Diagnostic;
use crate::json::{Member, Position, Spanned, Value};
use crate::schema;

/// The value of a tree, and what in it the schema of `3.minor` does not have.
pub(crate) fn decode<'de, T: Deserialize<'de>>(
    tree: &'de Spanned,
    minor: u32,
) -> Result<(T, Vec<Diagnostic>), Diagnostic> {
    let context = Context { minor, warnings: RefCell::default() };
    let value = T::deserialize(Node { context: &context, tree, path: "$".into() });
    match value {
        Ok(value) => Ok((value, context.warnings.into_inner())),
        Err(Mismatch { at, path, message }) => Err(Diagnostic::error(path, message).at(at)),
    }
}

struct Context {
    minor: u32,
    warnings: RefCell<Vec<Diagnostic>>,
}

/// A value that is not of the kind the schema wants.
#[derive(Debug)]
struct Mismatch {
    at: Position,
    path: String,
    message: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { at: Position::default(), path: String::new(), message: message.to_string() }
    }
}

struct Node<'c, 'de> {
    context: &'c Context,
    tree: &'de Spanned,
    path: String,
}

impl<'de> Node<'_, 'de> {
    fn mismatch<T>(&self, wanted: &str) -> Result<T, Mismatch> {
        let found = match &self.tree.value {
            Value::Number(number) => format!("the number {number}"),
            other => other.kind().to_owned(),
        };
        Err(Mismatch {
            at: self.tree.at,
            path: self.path.clone(),
            message: format!("expected {wanted}, found {found}"),
        })
    }
}

impl<'de> Deserializer<'de> for Node<'_, 'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Mismatch> {
        self.mismatch("nothing here")
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.tree.value {
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Null => visitor.visit_bool(false),
            _ => self.mismatch("true or false"),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.tree.value {
            Value::Number(number) => match number.parse() {
                Ok(value) => visitor.visit_i64(value),
                Err(_) => self.mismatch("an integer of at most 64 bits"),
            },
            Value::Null => visitor.visit_i64(0),
            _ => self.mismatch("an integer"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.tree.value {
            Value::String(value) => visitor.visit_borrowed_str(value),
            Value::Null => visitor.visit_str(""),
            _ => self.mismatch("a string"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.tree.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.tree.value {
            Value::Array(items) => {
                visitor.visit_seq(Items { context: self.context, path: self.path, items, next: 0 })
            }
            Value::Null => {
                visitor.visit_seq(Items { context: self.context, path: self.path, items: &[], next: 0 })
            }
            _ => self.mismatch("an array"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let members = match &self.tree.value {
            Value::Object(members) => members.as_slice(),
            Value::Null => {
                let warning = Diagnostic::warning(&self.path, "null is read as if the key were absent");
                self.context.warnings.borrow_mut().push(warning.at(self.tree.at));
                &[]
            }
            _ => return self.mismatch("an object"),
        };
        let known = known_members(self.context, name, fields, members, &self.path);
        visitor.visit_map(Members { context: self.context, path: self.path, known, next: 0 })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct map enum identifier ignored_any
    }
}

/// The members that the schema has, under their proper names; a warning for each other one.
fn known_members<'de>(
    context: &Context,
    type_name: &str,
    fields: &'static [&'static str],
    members: &'de [Member],
    path: &str,
) -> Vec<(&'static str, &'de Member)> {
    let mut known: Vec<(&'static str, &'de Member)> = Vec::new();
    for member in members {
        let field = fields
            .iter()
            .find(|field| **field == member.key)
            .or_else(|| fields.iter().find(|field| field.eq_ignore_ascii_case(&member.key)));
        let exact = field.is_some_and(|field| *field == member.key);
        let field = field.filter(|field| schema::knows(context.minor, type_name, field, path));
        if !exact || field.is_none() {
            context.warnings.borrow_mut().push(unknown_key(context, type_name, fields, member, path));
        }
        if let Some(field) = field {
            match known.iter_mut().find(|(name, _)| name == field) {
                Some(earlier) => earlier.1 = member,
                None => known.push((field, member)),
            }
        }
    }
    known
}

fn unknown_key(
    context: &Context,
    type_name: &str,
    fields: &'static [&'static str],
    member: &Member,
    path: &str,
) -> Diagnostic {
    let since = schema::since(type_name, &member.key, path);
    let key = &member.key;
    let warning = if since > context.minor {
        let message =
            format!("`{key}` came with spec 3.{since}.0 and is ignored in a 3.{}.0 config", context.minor);
        Diagnostic::warning(format!("{path}.{key}"), message)
            .hint(format!("set ignition.version to 3.{since}.0 or later"))
    } else {
        let hint = match fields.iter().find(|field| similar(field, key)) {
            Some(field) => format!("did you mean `{field}`?"),
            None => String::new(),
        };
        Diagnostic::warning(format!("{path}.{key}"), format!("unknown key `{key}`")).hint(hint)
    };
    warning.at(member.key_at)
}

/// Whether one name may be a slip of the other: the same letters but for case and underscores, or one
/// letter more or less.
fn similar(field: &str, key: &str) -> bool {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    let (field, key) = (plain(field), plain(key));
    let (long, short) = if field.len() >= key.len() { (&field, &key) } else { (&key, &field) };
    field == key
        || long.len() == short.len() + 1
            && (0..long.len()).any(|gone| {
                long.char_indices()
                    .filter(|(index, _)| *index != gone)
                    .map(|(_, character)| character)
                    .eq(short.chars())
            })
}

struct Items<'c, 'de> {
    context: &'c Context,
    path: String,
    items: &'de [Spanned],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let Some(tree) = self.items.get(self.next) else { return Ok(None) };
        let path = format!("{}.{}", self.path, self.next);
        self.next += 1;
        seed.deserialize(Node { context: self.context, tree, path }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

struct Members<'c, 'de> {
    context: &'c Context,
    path: String,
    known: Vec<(&'static str, &'de Member)>,
    next: usize,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        let Some((name, _)) = self.known.get(self.next) else { return Ok(None) };
        let name: StrDeserializer<'_, Mismatch> = (*name).into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let (name, member) = self.known[self.next];
        self.next += 1;
        let path = format!("{}.{name}", self.path);
        seed.deserialize(Node { context: self.context, tree: &member.value, path })
    }
}
