//! Reading requests as Go reads them: `null` is the same as absent.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Maps whose null values mean "this entry, with nothing said about it".
const KEYED: [&str; 2] = ["EndpointsConfig", "PortBindings"];

/// Reads a request body.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    from_value(serde_json::from_slice(bytes)?)
}

/// Reads a value that was JSON.
pub fn from_value<T: DeserializeOwned>(mut value: Value) -> serde_json::Result<T> {
    drop_nulls(&mut value);
    serde_json::from_value(value)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if KEYED.contains(&key.as_str())
                    && let Value::Object(entries) = inner
                {
                    let empty = if key == "PortBindings" {
                        Value::Array(Vec::new())
                    } else {
                        Value::Object(Default::default())
                    };
                    entries.values_mut().filter(|v| v.is_null()).for_each(|v| *v = empty.clone());
                }
                drop_nulls(inner);
            }
            map.retain(|_, inner| !inner.is_null());
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nulls_are_absent_but_keyed_entries_stay() {
        let mut v =
            json!({"A": null, "B": {"C": null, "D": [null, {"E": null}]}, "EndpointsConfig": {"net": null}});
        drop_nulls(&mut v);
        assert_eq!(v, json!({"B": {"D": [null, {}]}, "EndpointsConfig": {"net": {}}}));
    }
}
