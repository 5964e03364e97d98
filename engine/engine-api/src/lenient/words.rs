//! A list of words that may also be given as one word.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};

/// For `serde(deserialize_with)`: `"a"` is `["a"]`.
pub fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    deserializer.deserialize_any(Words)
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Option<Vec<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("string")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        // What is no list of words is no word either: so Docker has it.
        let wrong = |_| Error::invalid_type(Unexpected::Seq, &Words);
        while let Some(item) = items.next_element().map_err(wrong)? {
            list.push(item);
        }
        Ok(Some(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(serde::Deserialize)]
    #[serde(rename(deserialize = "x.One"))]
    struct One {
        #[serde(default, deserialize_with = "words")]
        words: Option<Vec<String>>,
    }

    #[test]
    fn one_or_many() {
        let read = |value| crate::lenient::from_value::<One>(&value).map(|one| one.words);
        assert_eq!(read(json!({"words": "a"})), Ok(Some(vec!["a".to_owned()])));
        assert_eq!(read(json!({"words": ["a", "b"]})), Ok(Some(vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(read(json!({"words": null})), Ok(None));
        for (wrong, what) in [(json!({"words": 5}), "number"), (json!({"words": [5]}), "array")] {
            let error = read(wrong).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("json: cannot unmarshal {what} into Go struct field One.words of type string")
            );
        }
    }
}
