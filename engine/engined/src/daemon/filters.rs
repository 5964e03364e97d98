//! Filters of lists, prunes and events, in both shapes that clients send:
//! `{"label":{"a=b":true}}` and `{"label":["a=b"]}`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::error::{Refusal, Result};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    pub(crate) fn parse(text: &str) -> Result<Filters> {
        if text.is_empty() {
            return Ok(Filters::default());
        }
        let wrong = || Refusal::bad("invalid filter");
        let object: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|_| wrong())?;
        let mut filters = BTreeMap::new();
        for (key, values) in object {
            let values = match values {
                // That a value is there counts, not whether it is true.
                Value::Object(map) if map.values().all(Value::is_boolean) => {
                    map.into_iter().map(|(value, _)| value).collect()
                }
                Value::Array(list) => list
                    .into_iter()
                    .map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong))
                    .collect::<Result<BTreeSet<_>>>()?,
                _ => return Err(wrong()),
            };
            filters.insert(key, values);
        }
        Ok(Filters(filters))
    }

    /// Refuses keys that mean nothing here.
    pub(crate) fn check(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|k| !known.contains(&k.as_str())) {
            Some(key) => Err(Refusal::bad(format!("Invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|v| !v.is_empty())
    }

    pub(crate) fn values<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// No such filter, or one of its values fits.
    pub(crate) fn any(&self, key: &str, fits: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(fits)
    }

    /// One of the values, as a regular expression or a part, is in one of the names.
    pub(crate) fn matches_name(&self, key: &str, names: &[&str]) -> bool {
        self.any(key, |value| match regex::Regex::new(value) {
            Ok(pattern) => names.iter().any(|n| pattern.is_match(n)),
            Err(_) => names.iter().any(|n| n.contains(value)),
        })
    }

    /// All of `key` and `key=value` are among the labels.
    pub(crate) fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).all(|wanted| has_label(labels, wanted))
    }

    /// None of them is.
    pub(crate) fn not_labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        !self.has(key) || !self.values(key).all(|wanted| has_label(labels, wanted))
    }

    /// A filter that is true or false.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.values(key).next() else { return Ok(None) };
        match value {
            "1" | "t" | "true" | "True" | "TRUE" => Ok(Some(true)),
            "0" | "f" | "false" | "False" | "FALSE" => Ok(Some(false)),
            other => Err(Refusal::bad(format!("Invalid filter '{key}=[{other}]'"))),
        }
    }
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|v| v == value),
        None => labels.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes() {
        let map = Filters::parse(r#"{"label":{"a=b":true},"name":{"x":true}}"#).unwrap();
        let list = Filters::parse(r#"{"label":["a=b"],"name":["x"]}"#).unwrap();
        assert_eq!(map, list);
        let labels = [("a".to_owned(), "b".to_owned())].into();
        assert!(map.labels("label", &labels) && !map.labels("name", &labels) && map.labels("none", &labels));
        assert!(map.matches_name("name", &["axb"]) && !map.matches_name("name", &["abb"]));
        assert!(map.check(&["label"]).is_err() && map.check(&["label", "name"]).is_ok());
    }

    #[test]
    fn broken() {
        for text in ["x", "[]", r#"{"a":1}"#, r#"{"a":[1]}"#, r#"{"a":"b"}"#, r#"{"a":{"b":"c"}}"#] {
            assert!(Filters::parse(text).is_err(), "{text}");
        }
    }
}
