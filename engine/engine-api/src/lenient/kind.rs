//! What Go calls the type that a value is read as: found by asking the type what it would like to read.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Writes down what is asked of it, and then refuses.
pub(super) struct Asked<'a>(pub(super) &'a mut String);

/// It is known now; nothing was read.
#[derive(Debug)]
pub(super) struct Known;

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only the type was asked for")
    }
}

impl std::error::Error for Known {}

impl Error for Known {
    fn custom<T: fmt::Display>(_: T) -> Known {
        Known
    }
}

macro_rules! plain {
    ($($method:ident $name:literal)*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Known> {
            self.0.push_str($name);
            Err(Known)
        })*
    };
}

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Known;

    plain! {
        deserialize_any "interface {}"
        deserialize_bool "bool"
        deserialize_i8 "int8"
        deserialize_i16 "int16"
        // Go's plain int is read into 32 bits.
        deserialize_i32 "int"
        deserialize_i64 "int64"
        deserialize_u8 "uint8"
        deserialize_u16 "uint16"
        deserialize_u32 "uint32"
        deserialize_u64 "uint64"
        deserialize_f32 "float32"
        deserialize_f64 "float64"
        deserialize_char "string"
        deserialize_str "string"
        deserialize_string "string"
        deserialize_identifier "string"
        deserialize_bytes "[]uint8"
        deserialize_byte_buf "[]uint8"
        deserialize_unit "struct {}"
        deserialize_ignored_any "interface {}"
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Known> {
        visitor.visit_some(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, _: V) -> Result<V::Value, Known> {
        self.0.push_str(name);
        Err(Known)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Known> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Known> {
        self.0.push_str("[]");
        visitor.visit_seq(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Known> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Known> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Known> {
        visitor.visit_map(Pairs(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Known> {
        self.0.push_str(name);
        Err(Known)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Known> {
        self.0.push_str("string");
        Err(Known)
    }
}

impl<'de> SeqAccess<'de> for Asked<'_> {
    type Error = Known;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Known> {
        seed.deserialize(Asked(self.0)).map(Some)
    }
}

/// The keys of what is read are strings.
struct Pairs<'a>(Asked<'a>);

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Known;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Known> {
        let key = serde::de::value::StrDeserializer::<Known>::new("");
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Known> {
        self.0.0.push_str("map[string]");
        seed.deserialize(Asked(self.0.0))
    }
}
