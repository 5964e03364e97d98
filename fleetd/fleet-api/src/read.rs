//! Bodies of requests as Go reads them: names of fields in any case. fleet's own clients write `Value`
//! where its manual says `value`.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Every name that a body of a request may hold.
const NAMES: [&str; 9] =
    ["currentState", "desiredState", "machineID", "name", "op", "options", "path", "section", "value"];

/// Reads a body.
///
/// # Errors
/// No JSON, or another shape.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_value(with_our_names(serde_json::from_slice(body)?))
}

fn with_our_names(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let renamed = fields.into_iter().map(|(name, value)| {
                let ours = NAMES.iter().find(|ours| ours.eq_ignore_ascii_case(&name));
                (ours.map_or(name, |ours| (*ours).to_owned()), with_our_names(value))
            });
            Value::Object(renamed.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(with_our_names).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MetadataPatch, PatchValue, Unit};

    #[test]
    fn the_case_of_a_name_does_not_matter() {
        let body =
            br#"{"DesiredState":"launched","Options":[{"Section":"Service","Name":"Value","value":"x"}]}"#;
        let unit: Unit = read(body).expect("reads");
        assert_eq!((unit.desired_state.as_str(), unit.options[0].name.as_str()), ("launched", "Value"));
        let body = br#"[{"op":"add","path":"/m/metadata/foo","Value":{"value":"bar"}}]"#;
        let patches: Vec<MetadataPatch> = read(body).expect("reads");
        assert_eq!(patches[0].value.as_ref().map(PatchValue::as_str), Some("bar"));
        assert!(read::<Unit>(b"{").is_err());
    }
}
