//! A JSON value being read, which knows where it stands.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde_json::{Map, Value};

use super::kind::Asked;

const NULL: &Value = &Value::Null;

/// Where a value stands: Go names the fields on the way, and the type of the last one's owner.
pub(super) enum Place<'a> {
    Top,
    Field { of: &'a Place<'a>, owner: &'a str, name: &'a str },
}

impl Place<'_> {
    /// `struct field HostConfig.Memory`, or `value` where there is no field.
    fn text(&self) -> String {
        match self {
            Place::Top => "value".into(),
            Place::Field { of, owner, name } => {
                let short = owner.rsplit_once('.').map_or(*owner, |(_, short)| short);
                format!("struct field {short}{}.{name}", of.fields())
            }
        }
    }

    fn fields(&self) -> String {
        match self {
            Place::Top => String::new(),
            Place::Field { of, name, .. } => format!("{}.{name}", of.fields()),
        }
    }
}

/// What was found in place of what.
#[derive(Debug)]
pub(super) struct Mismatch {
    what: What,
    /// The place in words, once somebody who knows it has seen the error.
    place: Option<String>,
}

#[derive(Debug)]
enum What {
    Type { found: String, wanted: String },
    Other(String),
}

impl Mismatch {
    fn at(mut self, place: &Place<'_>) -> Mismatch {
        self.place.get_or_insert_with(|| place.text());
        self
    }

    /// The sentence; `place` is where the whole stands.
    pub(super) fn text(self, place: &Place<'_>) -> String {
        let place = self.place.unwrap_or_else(|| place.text());
        match self.what {
            What::Type { found, wanted } => {
                format!("json: cannot unmarshal {found} into Go {place} of type {wanted}")
            }
            What::Other(text) => format!("json: {text} in Go {place}"),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Type { found, wanted } => write!(f, "{found} where {wanted} belongs"),
            What::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Mismatch {}

impl Error for Mismatch {
    fn custom<T: fmt::Display>(text: T) -> Mismatch {
        Mismatch { what: What::Other(text.to_string()), place: None }
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn serde::de::Expected) -> Mismatch {
        let found = match found {
            Unexpected::Bool(_) => "bool",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "number",
            Unexpected::Str(_) | Unexpected::Char(_) => "string",
            Unexpected::Seq => "array",
            _ => "object",
        };
        Mismatch { what: What::Type { found: found.into(), wanted: wanted.to_string() }, place: None }
    }
}

/// A field of an object, whatever the case of its letters. One that is spelt right comes first.
pub(super) fn find<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    object.get(field).or_else(|| object.iter().find(|(k, _)| k.eq_ignore_ascii_case(field)).map(|(_, v)| v))
}

/// A value to read.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) value: &'a Value,
    pub(super) place: &'a Place<'a>,
}

impl<'a> Read<'a> {
    /// This value where `visitor`'s type belongs, which is named by asking it.
    fn mismatch(self, wanted: String) -> Mismatch {
        let found = match self.value {
            Value::Null => "null".into(),
            Value::Bool(_) => "bool".into(),
            // Go tells the number only where another one would do.
            Value::Number(n) if wanted.contains("int") && !wanted.starts_with(['[', 'm']) => {
                format!("number {n}")
            }
            Value::Number(_) => "number".into(),
            Value::String(_) => "string".into(),
            Value::Array(_) => "array".into(),
            Value::Object(_) => "object".into(),
        };
        Mismatch { what: What::Type { found, wanted }, place: None }.at(self.place)
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V, name: &str) -> Result<V::Value, Mismatch> {
        let read = match self.value {
            Value::Null => visitor.visit_i64(0),
            Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(n), _) => visitor.visit_i64(n),
                (None, Some(n)) => visitor.visit_u64(n),
                (None, None) => return Err(self.mismatch(name.into())),
            },
            _ => return Err(self.mismatch(name.into())),
        };
        // What fits no visitor is too large for it.
        read.map_err(|_: Mismatch| self.mismatch(name.into()))
    }
}

macro_rules! integers {
    ($($method:ident $name:literal)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.integer(visitor, $name)
        })*
    };
}

impl<'de> Deserializer<'de> for Read<'_> {
    type Error = Mismatch;

    integers! {
        deserialize_i8 "int8"
        deserialize_i16 "int16"
        deserialize_i32 "int"
        deserialize_i64 "int64"
        deserialize_u8 "uint8"
        deserialize_u16 "uint16"
        deserialize_u32 "uint32"
        deserialize_u64 "uint64"
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let read = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(on) => visitor.visit_bool(*on),
            Value::Number(n) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => visitor.visit_u64(n),
                (None, Some(n)) => visitor.visit_i64(n),
                (None, None) => visitor.visit_f64(n.as_f64().unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), place: self.place }),
            Value::Object(map) => visitor.visit_map(Entries::all(map, self.place)),
        };
        read.map_err(|e: Mismatch| e.at(self.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(on) => visitor.visit_bool(*on),
            _ => Err(self.mismatch("bool".into())),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_f64(0.0),
            Value::Number(n) => visitor.visit_f64(n.as_f64().unwrap_or_default()),
            _ => Err(self.mismatch("float64".into())),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_str(""),
            Value::String(text) => visitor.visit_str(text).map_err(|e: Mismatch| e.at(self.place)),
            _ => Err(self.mismatch("string".into())),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let items = match self.value {
            Value::Null => <&[Value]>::default().iter(),
            Value::Array(items) => items.iter(),
            _ => {
                let mut wanted = String::new();
                // It refuses by design; what counts is what it wrote down.
                let _ = Asked(&mut wanted).deserialize_seq(visitor);
                return Err(self.mismatch(wanted));
            }
        };
        visitor.visit_seq(Items { items, place: self.place }).map_err(|e: Mismatch| e.at(self.place))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            // Go fills up with zeros what is missing, and leaves out what is too much.
            Value::Array(items) => {
                let filled = items.iter().chain(std::iter::repeat(NULL)).take(length);
                let items: Vec<&Value> = filled.collect();
                visitor.visit_seq(Items { items: items.into_iter(), place: self.place })
            }
            Value::Null => {
                let items = vec![NULL; length];
                visitor.visit_seq(Items { items: items.into_iter(), place: self.place })
            }
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::Null => visitor.visit_map(Entries::none(self.place)),
            Value::Object(map) => visitor.visit_map(Entries::all(map, self.place)),
            _ => {
                let mut wanted = String::new();
                // It refuses by design; what counts is what it wrote down.
                let _ = Asked(&mut wanted).deserialize_map(visitor);
                Err(self.mismatch(wanted))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let entries = match self.value {
            Value::Null => Entries::none(self.place),
            Value::Object(map) => Entries::fields(map, name, fields, self.place),
            _ => return Err(self.mismatch(name.into())),
        };
        visitor.visit_map(entries).map_err(|e: Mismatch| e.at(self.place))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.value {
            Value::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(self.mismatch("string".into())),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }
}

/// The elements of a list.
struct Items<'a, I> {
    items: I,
    place: &'a Place<'a>,
}

impl<'a, 'de, I: Iterator<Item = &'a Value>> SeqAccess<'de> for Items<'a, I> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let Some(value) = self.items.next() else { return Ok(None) };
        seed.deserialize(Read { value, place: self.place }).map(Some)
    }
}

/// The entries of a map, or the fields of a struct.
struct Entries<'a> {
    rest: std::vec::IntoIter<(&'a str, &'a Value)>,
    next: Option<(&'a str, &'a Value)>,
    /// Go's name of the struct.
    owner: Option<&'static str>,
    place: &'a Place<'a>,
}

impl<'a> Entries<'a> {
    fn none(place: &'a Place<'a>) -> Entries<'a> {
        Entries { rest: Vec::new().into_iter(), next: None, owner: None, place }
    }

    fn all(map: &'a Map<String, Value>, place: &'a Place<'a>) -> Entries<'a> {
        let all: Vec<_> = map.iter().map(|(k, v)| (k.as_str(), v)).collect();
        Entries { rest: all.into_iter(), next: None, owner: None, place }
    }

    /// Fields by their right names, each once; those that are null are left out.
    fn fields(
        map: &'a Map<String, Value>,
        owner: &'static str,
        fields: &'static [&'static str],
        place: &'a Place<'a>,
    ) -> Entries<'a> {
        let known = |key: &str| fields.iter().find(|f| f.eq_ignore_ascii_case(key)).copied();
        let mut found: Vec<(&str, &Value)> = Vec::new();
        for (key, value) in map.iter().filter(|(_, v)| !v.is_null()) {
            let exact = fields.contains(&key.as_str());
            let name = if exact { key.as_str() } else { known(key).unwrap_or(key) };
            match found.iter_mut().find(|(there, _)| *there == name) {
                Some(there) if exact => there.1 = value,
                Some(_) => {}
                None => found.push((name, value)),
            }
        }
        Entries { rest: found.into_iter(), next: None, owner: Some(owner), place }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        self.next = self.rest.next();
        match self.next {
            Some((key, _)) => seed.deserialize(StrDeserializer::<Mismatch>::new(key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let Some((name, value)) = self.next.take() else {
            return Err(Mismatch::custom("a value was asked for before its key"));
        };
        match self.owner {
            Some(owner) => {
                let place = Place::Field { of: self.place, owner, name };
                seed.deserialize(Read { value, place: &place }).map_err(|e| e.at(&place))
            }
            None => seed.deserialize(Read { value, place: self.place }),
        }
    }
}
