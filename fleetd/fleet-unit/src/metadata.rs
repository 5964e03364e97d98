//! What a unit asks of a machine's metadata: `key=value` pairs; one key with several values means
//! any of them, several keys mean all of them.

use std::collections::{BTreeMap, BTreeSet};

/// The values that each key may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub BTreeMap<String, BTreeSet<String>>);

/// A pair that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not one `=` with something on both sides.
    #[error(
        "MachineMetadata `{0}` is not `key=value`; write several as MachineMetadata=\"a=b\" \"c=d\" or on lines of their own"
    )]
    NotAPair(String),
    /// A quote without its end.
    #[error("MachineMetadata `{0}` has a quote that does not end")]
    OpenQuote(String),
}

impl Metadata {
    /// Reads the values of all `MachineMetadata=` lines.
    ///
    /// # Errors
    /// The first pair that is none.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, MetadataError> {
        let mut wanted = BTreeMap::<String, BTreeSet<String>>::new();
        for line in lines {
            for item in items(line)? {
                match item.split_once('=') {
                    Some((key, value)) if !key.is_empty() && !value.is_empty() && !value.contains('=') => {
                        wanted.entry(key.to_owned()).or_default().insert(value.to_owned());
                    }
                    _ => return Err(MetadataError::NotAPair(item)),
                }
            }
        }
        Ok(Self(wanted))
    }

    /// Whether a machine with this metadata will do.
    #[must_use]
    pub fn fits(&self, machine: &BTreeMap<String, String>) -> bool {
        self.missing(machine).is_none()
    }

    /// The first key that a machine lacks or has another value for, as `key=value|value`.
    #[must_use]
    pub fn missing(&self, machine: &BTreeMap<String, String>) -> Option<String> {
        let (key, values) =
            self.0.iter().find(|(key, values)| !machine.get(*key).is_some_and(|has| values.contains(has)))?;
        Some(format!("{key}={}", values.iter().cloned().collect::<Vec<_>>().join("|")))
    }
}

/// A line that begins with a quote is a list of quoted items, any other line is one item.
fn items(line: &str) -> Result<Vec<String>, MetadataError> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Vec::new());
    }
    if !line.starts_with('"') && !line.starts_with('\'') {
        return Ok(vec![line.to_owned()]);
    }
    unit_file::split_words(line).map_err(|_| MetadataError::OpenQuote(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn one_key_is_any_of_its_values_and_all_keys_must_fit() {
        let wanted = Metadata::parse(["region=eu", "\"region=us\" \"disk=ssd\""]).expect("parses");
        assert!(wanted.fits(&machine(&[("region", "us"), ("disk", "ssd")])));
        assert!(wanted.fits(&machine(&[("region", "eu"), ("disk", "ssd"), ("x", "y")])));
        assert!(!wanted.fits(&machine(&[("region", "eu")])));
        assert_eq!(wanted.missing(&machine(&[("disk", "ssd")])), Some("region=eu|us".to_owned()));
    }

    #[test]
    fn what_fleet_dropped_is_an_error() {
        for line in ["region", "=eu", "region=", "a=b=c", "a=b c=d", "\"a=b\" \"c\"", "\"a=b"] {
            assert!(Metadata::parse([line]).is_err(), "{line}");
        }
    }
}
