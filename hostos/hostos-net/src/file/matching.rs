//! `[Match]`: which links a file is for.

use unit_file::glob::matches;

use super::sections::Setting;

/// What is known of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFacts {
    /// Such as `eth0`.
    pub name: String,
    /// Hardware address.
    pub mac: Vec<u8>,
    /// Such as `virtio_net`; empty if there is none.
    pub driver: String,
    /// Such as `ether`.
    pub kind: String,
}

/// Patterns; all that are given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    names: Vec<String>,
    macs: Vec<Vec<u8>>,
    drivers: Vec<String>,
    kinds: Vec<String>,
    /// An option that cannot be judged here: the file is for no link.
    impossible: bool,
}

impl Match {
    pub(super) fn set(&mut self, setting: &Setting) -> Result<(), String> {
        let words = |list: &mut Vec<String>| setting.list(list, |word| Some(word.to_owned()));
        match setting.key.as_str() {
            "Name" | "OriginalName" => words(&mut self.names),
            "Driver" => words(&mut self.drivers),
            "Type" => words(&mut self.kinds),
            "MACAddress" | "PermanentMACAddress" => setting.list(&mut self.macs, mac),
            other => {
                // Ignoring it would give links a network that was not meant for them.
                self.impossible = true;
                Err(format!("{other}= of [Match] is not understood, so the file is for no link"))
            }
        }
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.macs.is_empty() && self.drivers.is_empty() && self.kinds.is_empty()
    }

    /// Whether it means every link there is.
    #[must_use]
    pub fn is_for_all(&self) -> bool {
        self.names.iter().any(|name| name == "*") && self.drivers.is_empty() && self.macs.is_empty()
    }

    /// Whether a link is meant.
    #[must_use]
    pub fn fits(&self, link: &LinkFacts) -> bool {
        !self.impossible
            && !self.is_empty()
            && any(&self.names, &link.name)
            && any(&self.drivers, &link.driver)
            && any(&self.kinds, &link.kind)
            && (self.macs.is_empty() || self.macs.contains(&link.mac))
    }
}

/// Whether one pattern fits. A list that begins with `!` means all but what it names.
fn any(patterns: &[String], text: &str) -> bool {
    let Some(first) = patterns.first() else { return true };
    match first.strip_prefix('!') {
        None => patterns.iter().any(|pattern| matches(pattern, text)),
        Some(first) => !matches(first, text) && !patterns[1..].iter().any(|pattern| matches(pattern, text)),
    }
}

/// `52:54:00:12:34:56`, `52-54-00-12-34-56` or `5254.0012.3456`.
pub(super) fn mac(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| !":-.".contains(*c)).collect();
    if digits.len() != 12 || !digits.is_ascii() {
        return None;
    }
    (0..6).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()).collect()
}
