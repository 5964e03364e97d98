//! The content of a unit as fleet stores and hashes it: a list of (section, name, value).

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use unit_file::UnitFile;

/// One option, in the shape of fleet's API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitOption {
    /// Section without brackets.
    pub section: String,
    /// Key.
    pub name: String,
    /// Value, continuation lines joined.
    pub value: String,
}

/// The options of a unit in their order. Two texts with equal lists are the same unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitOptions(pub Vec<UnitOption>);

impl UnitOptions {
    /// Reads a unit file strictly: what systemd would skip with a warning is refused before it is
    /// stored in a cluster.
    ///
    /// # Errors
    /// The first line that is no section, option or comment.
    pub fn parse(text: &str) -> Result<Self, unit_file::ParseError> {
        let file = UnitFile::parse_strict(text)?;
        let option =
            |it: unit_file::Assignment| UnitOption { section: it.section, name: it.key, value: it.value };
        Ok(Self(file.assignments.into_iter().map(option).collect()))
    }

    /// All values of an option, in their order.
    pub fn values<'a>(&'a self, section: &'a str, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.0.iter().filter(move |it| it.section == section && it.name == name).map(|it| it.value.as_str())
    }

    /// The options of a section, in their order.
    pub fn section<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a UnitOption> {
        self.0.iter().filter(move |it| it.section == section)
    }

    /// The unit file that is written to a machine: each section once, in the order in which they
    /// first appear.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut sections: Vec<&str> = Vec::new();
        for option in &self.0 {
            if !sections.contains(&option.section.as_str()) {
                sections.push(&option.section);
            }
        }
        let mut text = String::new();
        for (index, section) in sections.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            text.push_str(&format!("[{section}]\n"));
            for option in self.section(section) {
                text.push_str(&format!("{}={}\n", option.name, option.value));
            }
        }
        text
    }

    /// SHA-1 of [`Self::to_text`] in lower-case hex: comments and spacing do not alter it.
    #[must_use]
    pub fn hash(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(40);
        for byte in Sha1::digest(self.to_text()) {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }

    /// The same unit, whatever the order of its sections? A client may have sorted options by section.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self == other || self.to_text() == other.to_text()
    }

    /// What `[Unit] Description` says, or nothing.
    #[must_use]
    pub fn description(&self) -> &str {
        self.values("Unit", "Description").next_back().unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_and_comments_do_not_alter_the_hash() {
        let plain =
            UnitOptions::parse("[Unit]\nDescription=a\n[Service]\nExecStart=/bin/true\n").expect("parses");
        let spaced =
            UnitOptions::parse("# hi\n[Unit]\n\n Description = a \n\n[Service]\nExecStart=/bin/true")
                .expect("parses");
        assert_eq!(plain.hash(), spaced.hash());
        let other =
            UnitOptions::parse("[Unit]\nDescription=b\n[Service]\nExecStart=/bin/true\n").expect("parses");
        assert_ne!(plain.hash(), other.hash());
    }

    #[test]
    fn the_text_opens_each_section_once() {
        let options = UnitOptions::parse("[A]\nx=1\n[B]\ny=2\n[A]\nz=3\n").expect("parses");
        assert_eq!(options.to_text(), "[A]\nx=1\nz=3\n\n[B]\ny=2\n");
    }

    #[test]
    fn the_hash_is_sha1_of_the_text() {
        // printf '[Service]\nExecStart=/bin/true\n' | sha1sum
        let options = UnitOptions::parse("[Service]\nExecStart=/bin/true\n").expect("parses");
        assert_eq!(options.hash(), "86943ac9f3754cb90f8dd38bf6da7b0cad074592");
        // The case of fleet's own test.
        let options = UnitOptions::parse("[Service]\nExecStart=/bin/sleep 100\n").expect("parses");
        assert_eq!(options.hash(), "1c6fb6f3684bafb0c173d8b8b957ceff031180c1");
        let sorted = UnitOptions::parse("[A]\nx=1\nz=3\n[B]\ny=2\n").expect("parses");
        assert!(sorted.same_as(&UnitOptions::parse("[A]\nx=1\n[B]\ny=2\n[A]\nz=3\n").expect("parses")));
        assert!(!sorted.same_as(&options));
    }

    #[test]
    fn the_shape_on_the_wire_is_a_list() {
        let json = r#"[{"section":"Service","name":"ExecStart","value":"/bin/true"}]"#;
        let options: UnitOptions = serde_json::from_str(json).expect("parses");
        assert_eq!(serde_json::to_string(&options).expect("serialises"), json);
    }
}
