//! What a unit asks of a machine's metadata. `key=value`: one key with several values means any of them,
//! several keys mean all of them. `key>=7` and the like compare numbers, `key!=value` and `key==value`
//! words; each comparison must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a machine's metadata must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The values that each key may have.
    pub any_of: BTreeMap<String, BTreeSet<String>>,
    /// What must hold besides.
    pub comparisons: BTreeSet<Comparison>,
}

/// A key and what its value is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Comparison {
    key: String,
    operator: Operator,
    wanted: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    AtMost,
    AtLeast,
    Not,
    Is,
    Below,
    Above,
}

/// Those of two characters first: the others are their beginnings.
const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("!=", Operator::Not),
    ("==", Operator::Is),
    ("<", Operator::Below),
    (">", Operator::Above),
];

/// A pair that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not one `=` with something on both sides.
    #[error(
        "MachineMetadata `{0}` is not `key=value`; write several as MachineMetadata=\"a=b\" \"c=d\" or on lines of their own"
    )]
    NotAPair(String),
    /// An order between words.
    #[error("MachineMetadata `{0}` compares with what is no whole number")]
    NotANumber(String),
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
        let mut wanted = Self::default();
        for line in lines {
            for item in items(line)? {
                if let Some(comparison) = Comparison::parse(&item)? {
                    wanted.comparisons.insert(comparison);
                    continue;
                }
                match item.split_once('=') {
                    Some((key, value)) if !key.is_empty() && !value.is_empty() && !value.contains('=') => {
                        wanted.any_of.entry(key.to_owned()).or_default().insert(value.to_owned());
                    }
                    _ => return Err(MetadataError::NotAPair(item)),
                }
            }
        }
        Ok(wanted)
    }

    /// Whether a machine with this metadata will do.
    #[must_use]
    pub fn fits(&self, machine: &BTreeMap<String, String>) -> bool {
        self.missing(machine).is_none()
    }

    /// The first thing that a machine lacks, as `key=value|value` or `key>=value`.
    #[must_use]
    pub fn missing(&self, machine: &BTreeMap<String, String>) -> Option<String> {
        let has_one = |key: &String, values: &BTreeSet<String>| {
            machine.get(key).is_some_and(|has| values.contains(has))
        };
        if let Some((key, values)) = self.any_of.iter().find(|(key, values)| !has_one(key, values)) {
            return Some(format!("{key}={}", values.iter().cloned().collect::<Vec<_>>().join("|")));
        }
        let holds = |it: &&Comparison| machine.get(&it.key).is_some_and(|has| it.holds(has));
        self.comparisons.iter().find(|it| !holds(it)).map(Comparison::to_string)
    }
}

impl Comparison {
    /// Nothing when the item holds no operator.
    fn parse(item: &str) -> Result<Option<Self>, MetadataError> {
        let found = OPERATORS.iter().find_map(|(text, operator)| Some((item.split_once(text)?, *operator)));
        let Some(((key, wanted), operator)) = found else { return Ok(None) };
        if key.is_empty() || wanted.is_empty() || key.contains('=') {
            return Err(MetadataError::NotAPair(item.to_owned()));
        }
        let by_words = matches!(operator, Operator::Is | Operator::Not);
        if !by_words && wanted.parse::<i64>().is_err() {
            return Err(MetadataError::NotANumber(item.to_owned()));
        }
        Ok(Some(Self { key: key.to_owned(), operator, wanted: wanted.to_owned() }))
    }

    /// As fleet: what is no number is neither more nor less than one.
    fn holds(&self, has: &str) -> bool {
        let order = || Some(has.parse::<i64>().ok()?.cmp(&self.wanted.parse::<i64>().ok()?));
        match self.operator {
            Operator::AtMost => order().is_some_and(std::cmp::Ordering::is_le),
            Operator::AtLeast => order().is_some_and(std::cmp::Ordering::is_ge),
            Operator::Below => order().is_some_and(std::cmp::Ordering::is_lt),
            Operator::Above => order().is_some_and(std::cmp::Ordering::is_gt),
            Operator::Is => has == self.wanted,
            Operator::Not => has != self.wanted,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = OPERATORS.iter().find(|(_, it)| *it == self.operator).map_or("", |(text, _)| text);
        write!(f, "{}{operator}{}", self.key, self.wanted)
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
        for line in [
            "region",
            "=eu",
            "region=",
            "a=b=c",
            "a=b c=d",
            "\"a=b\" \"c\"",
            "\"a=b",
            "a>=",
            "<3",
            "a<b",
            "a=b!=c",
        ] {
            assert!(Metadata::parse([line]).is_err(), "{line}");
        }
    }

    /// The cases of fleet's own functional test of operators, and some more.
    #[test]
    fn comparisons_are_of_numbers_or_of_words() {
        let machine = machine(&[("ram", "1024"), ("zone", "eu")]);
        for holds in [
            "ram>=1024",
            "ram<=1024",
            "ram>1023",
            "ram<1025",
            "ram!=1025",
            "ram==1024",
            "zone==eu",
            "zone!=us",
        ] {
            let wanted = Metadata::parse([format!("\"{holds}\"").as_str()]).expect(holds);
            assert_eq!(wanted.missing(&machine), None, "{holds}");
        }
        for lacks in [
            "ram>=1025",
            "ram<=1023",
            "ram>1024",
            "ram<1024",
            "ram!=1024",
            "ram==1025",
            "zone>1",
            "disk!=ssd",
        ] {
            let wanted = Metadata::parse([lacks]).expect(lacks);
            assert_eq!(wanted.missing(&machine).as_deref(), Some(lacks));
        }
        let range = Metadata::parse(["ram>=512", "ram<=1024", "zone=eu"]).expect("parses");
        assert!(range.fits(&machine));
    }
}
