//! Reading requests as Go reads them, since that is what clients were written against.
//!
//! `null` is the same as absent, fields are found whatever the case of their letters, and a value of the
//! wrong type is told in the words of Go's decoder. Go's name of a type is given by `serde(rename)`.

mod kind;
mod value;
mod words;

use serde::de::DeserializeOwned;
use serde_json::Value;

use value::{Place, Read};
pub use words::words;

/// Why a request body could not be read.
#[derive(Debug)]
pub enum Unreadable {
    /// It is no JSON.
    Syntax(serde_json::Error),
    /// A value is not of the type that stands there.
    Type(WrongType),
}

/// `json: cannot unmarshal string into Go struct field HostConfig.Memory of type int64`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongType(String);

impl std::fmt::Display for WrongType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongType {}

/// Reads a request body.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let value = serde_json::from_slice(bytes).map_err(Unreadable::Syntax)?;
    from_value(&value).map_err(Unreadable::Type)
}

/// Reads a value that was JSON.
pub fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, WrongType> {
    read(value, &Place::Top)
}

/// Reads the part of an object that stands in `field`; Go's name of the object's type is `owner`.
pub fn from_field<T: DeserializeOwned>(object: &Value, owner: &str, field: &str) -> Result<T, WrongType> {
    let found = object.as_object().and_then(|o| value::find(o, field)).unwrap_or(&Value::Null);
    read(found, &Place::Field { of: &Place::Top, owner, name: field })
}

fn read<T: DeserializeOwned>(value: &Value, place: &Place<'_>) -> Result<T, WrongType> {
    T::deserialize(Read { value, place }).map_err(|error| WrongType(error.text(place)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", rename(deserialize = "x.Outer"), default)]
    struct Outer {
        number: i64,
        small: u16,
        text: String,
        maybe: Option<bool>,
        list: Option<Vec<String>>,
        map: BTreeMap<String, Vec<Inner>>,
        pair: [u32; 2],
        inner: Option<Inner>,
        #[serde(alias = "other")]
        named: String,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase", rename(deserialize = "x.Inner"), default)]
    struct Inner {
        flag: bool,
    }

    fn outer(value: Value) -> Result<Outer, String> {
        from_value(&value).map_err(|e| e.to_string())
    }

    #[test]
    fn nulls_are_absent_and_cases_do_not_matter() {
        let read = outer(json!({
            "number": 5, "TEXT": null, "Maybe": null, "List": [null, "a"], "Map": {"k": null},
            "inner": {"FLAG": true}, "Pair": [1, 2], "other": "o", "Unknown": {"a": [1]},
        }));
        let want = Outer {
            number: 5,
            list: Some(vec![String::new(), "a".into()]),
            map: BTreeMap::from([("k".into(), Vec::new())]),
            pair: [1, 2],
            inner: Some(Inner { flag: true }),
            named: "o".into(),
            ..Outer::default()
        };
        assert_eq!(read, Ok(want));
        assert_eq!(outer(json!(null)), Ok(Outer::default()));
    }

    #[test]
    fn wrong_types_as_go_tells_them() {
        for (value, want) in [
            (json!({"Number": "x"}), "string into Go struct field Outer.Number of type int64"),
            (json!({"Number": 1.5}), "number 1.5 into Go struct field Outer.Number of type int64"),
            (json!({"Small": 70000}), "number 70000 into Go struct field Outer.Small of type uint16"),
            (json!({"Text": 5}), "number into Go struct field Outer.Text of type string"),
            (json!({"maybe": {}}), "object into Go struct field Outer.Maybe of type bool"),
            (json!({"List": "x"}), "string into Go struct field Outer.List of type []string"),
            (json!({"List": [true]}), "bool into Go struct field Outer.List of type string"),
            (json!({"Map": []}), "array into Go struct field Outer.Map of type map[string][]x.Inner"),
            (json!({"Map": {"a": "b"}}), "string into Go struct field Outer.Map of type []x.Inner"),
            (json!({"Map": {"a": [{"Flag": 1}]}}), "number into Go struct field Inner.Map.Flag of type bool"),
            (json!({"Inner": "x"}), "string into Go struct field Outer.Inner of type x.Inner"),
            (json!({"Pair": 1}), "number into Go struct field Outer.Pair of type []uint32"),
            (json!([]), "array into Go value of type x.Outer"),
        ] {
            assert_eq!(outer(value).unwrap_err(), format!("json: cannot unmarshal {want}"));
        }
        let whole = json!({"Part": {"Number": "x"}});
        let error = from_field::<Outer>(&whole, "Whole", "Part").unwrap_err();
        assert_eq!(
            error.to_string(),
            "json: cannot unmarshal string into Go struct field Outer.Part.Number of type int64"
        );
        let error = from_field::<Outer>(&json!({"part": 1}), "Whole", "Part").unwrap_err();
        assert_eq!(
            error.to_string(),
            "json: cannot unmarshal number into Go struct field Whole.Part of type x.Outer"
        );
    }
}
