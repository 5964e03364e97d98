//! The name of a machine: also a folder, a host name and a name in certificates, hence its limits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that is safe as a folder, as a host name and as a DNS name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(String);

/// Why a text is no machine name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a machine name cannot be empty")]
    Empty,
    /// Longer than a host name can be.
    #[error("`{0}` is no machine name: it is longer than 63 characters")]
    TooLong(String),
    /// A character that no host name has, or that is in the wrong place.
    #[error(
        "`{0}` is no machine name: use letters, digits, `-` and `.`, begin and end with a letter or digit"
    )]
    Characters(String),
}

impl MachineName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > 63 {
            return Err(NameError::TooLong(text.to_owned()));
        }
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let edge = |c: char| c.is_ascii_alphanumeric();
        if text.chars().all(inner)
            && text.starts_with(edge)
            && text.ends_with(edge)
            && !text.contains("..")
            && !text.contains(".-")
            && !text.contains("-.")
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Characters(text.to_owned()))
        }
    }
}

impl TryFrom<String> for MachineName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_work_as_folder_and_host_name_are_taken() {
        for good in ["a", "worker1", "Worker-1", "a.b.c", "9lives"] {
            assert!(good.parse::<MachineName>().is_ok(), "{good}");
        }
    }

    #[test]
    fn names_that_could_leave_the_store_or_break_a_certificate_are_refused() {
        for bad in
            ["", ".", "..", "../x", "a/b", "-a", "a-", ".a", "a.", "a..b", "a_b", "ü", "a b", "a\n", "a.-b"]
        {
            assert!(bad.parse::<MachineName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(64).parse::<MachineName>().is_err());
    }
}
