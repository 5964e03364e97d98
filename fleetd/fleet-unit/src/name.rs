//! Unit names: `prefix[@instance].type`.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes.
const LONGEST: usize = 256;

const TYPES: [&str; 13] = [
    "automount",
    "busname",
    "device",
    "mount",
    "path",
    "scope",
    "service",
    "slice",
    "snapshot",
    "socket",
    "swap",
    "target",
    "timer",
];

/// A valid unit name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName(String);

/// Why a text is no unit name, in fleet's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No text at all.
    #[error("unit name cannot be empty")]
    Empty,
    /// Over 256 bytes.
    #[error("unit name exceeds maximum length ({LONGEST})")]
    TooLong,
    /// No dot that would begin the type.
    #[error("unit name must contain \".\"")]
    NoType,
    /// The dot is the last character.
    #[error("unit name cannot end in \".\"")]
    EndsInDot,
    /// A type that systemd does not know.
    #[error("invalid unit type: \"{0}\"")]
    UnknownType(String),
    /// A character outside letters, digits and `:-_.\@`.
    #[error("invalid character {0:?} in unit name")]
    InvalidCharacter(char),
    /// No prefix before the `@`.
    #[error("unit name cannot start in \"@\"")]
    StartsWithAt,
}

impl UnitName {
    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its type: `web@1` of `web@1.service`.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(self.0.as_str(), |(stem, _)| stem)
    }

    /// The type: `service` of `web@1.service`.
    #[must_use]
    pub fn unit_type(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, unit_type)| unit_type)
    }

    /// What is before the `@`, or the stem.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.stem().split_once('@').map_or(self.stem(), |(prefix, _)| prefix)
    }

    /// What is between `@` and the type; empty for a template; nothing without an `@`.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.stem().split_once('@').map(|(_, instance)| instance)
    }

    /// `web@.service`: not to be run itself, only through its instances.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.instance() == Some("")
    }

    /// The template that an instance comes from.
    #[must_use]
    pub fn template(&self) -> Option<UnitName> {
        let instance = self.instance()?;
        (!instance.is_empty()).then(|| UnitName(format!("{}@.{}", self.prefix(), self.unit_type())))
    }

    /// The instance of this template with that name.
    ///
    /// # Errors
    /// When the instance holds a character that a name must not.
    pub fn with_instance(&self, instance: &str) -> Result<UnitName, NameError> {
        format!("{}@{instance}.{}", self.prefix(), self.unit_type()).parse()
    }

    /// Replaces `%n %N %p %i` (and `%%`) in a value of the `[X-Fleet]` section.
    #[must_use]
    pub fn expand(&self, value: &str) -> String {
        let mut expanded = String::with_capacity(value.len());
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('%') {
            expanded.push_str(before);
            let specifier = after.chars().next();
            match specifier {
                Some('n') => expanded.push_str(self.as_str()),
                Some('N') => expanded.push_str(self.stem()),
                Some('p') => expanded.push_str(self.prefix()),
                Some('i') => expanded.push_str(self.instance().unwrap_or("")),
                Some('%') => expanded.push('%'),
                // Any other specifier is left alone, as fleet leaves it.
                Some(other) => expanded.extend(['%', other]),
                None => expanded.push('%'),
            }
            rest = specifier.map_or("", |c| &after[c.len_utf8()..]);
        }
        expanded.push_str(rest);
        expanded
    }
}

impl FromStr for UnitName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > LONGEST {
            return Err(NameError::TooLong);
        }
        let (stem, unit_type) = name.rsplit_once('.').ok_or(NameError::NoType)?;
        if unit_type.is_empty() {
            return Err(NameError::EndsInDot);
        }
        if !TYPES.contains(&unit_type) {
            return Err(NameError::UnknownType(unit_type.to_owned()));
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if let Some(c) = stem.chars().find(|&c| !valid(c)) {
            return Err(NameError::InvalidCharacter(c));
        }
        if stem.starts_with('@') {
            return Err(NameError::StartsWithAt);
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UnitName {
        text.parse().expect("a valid name")
    }

    #[test]
    fn names_are_refused_in_fleets_words() {
        for (text, message) in [
            ("", "unit name cannot be empty"),
            ("foo", "unit name must contain \".\""),
            ("foo.", "unit name cannot end in \".\""),
            ("foo.docker", "invalid unit type: \"docker\""),
            ("fo o.service", "invalid character ' ' in unit name"),
            ("foo/bar.service", "invalid character '/' in unit name"),
            ("@1.service", "unit name cannot start in \"@\""),
        ] {
            let error = text.parse::<UnitName>().expect_err(text);
            assert_eq!(error.to_string(), message);
        }
        let long = format!("{}.service", "a".repeat(249));
        assert_eq!(long.parse::<UnitName>(), Err(NameError::TooLong));
    }

    #[test]
    fn a_name_has_parts() {
        let unit = name("web@a@b.1.service");
        assert_eq!((unit.prefix(), unit.instance(), unit.unit_type()), ("web", Some("a@b.1"), "service"));
        assert_eq!(unit.template(), Some(name("web@.service")));
        assert!(name("web@.timer").is_template());
        assert_eq!(name("web.service").instance(), None);
        assert_eq!(name("web@.service").template(), None);
        assert_eq!(name("web@.service").with_instance("7"), Ok(name("web@7.service")));
    }

    #[test]
    fn specifiers_become_parts_of_the_name() {
        let unit = name("web@1.service");
        assert_eq!(unit.expand("%n %N %p %i"), "web@1.service web@1 web 1");
        assert_eq!(unit.expand("%H 100% %%i é%"), "%H 100% %i é%");
        assert_eq!(name("db.service").expand("x%iy"), "xy");
    }
}
