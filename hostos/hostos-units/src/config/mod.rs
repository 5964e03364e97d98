//! Options of unit files as typed values. What cannot be read keeps its default and leaves a
//! warning, as systemd does; what makes the unit unusable is an error of its `parse`.

pub(crate) mod exec;
pub(crate) mod general;
pub(crate) mod kill;
pub(crate) mod resources;
pub(crate) mod service;
pub(crate) mod triggers;

#[cfg(test)]
mod settings;

use std::time::Duration;

use unit_file::{Specifiers, TimeSpan, UnitFile, UnitName, parse_bool, parse_span};

/// One section of a unit file, with what is needed to read its values.
pub(crate) struct Section<'a> {
    pub(crate) file: &'a UnitFile,
    pub(crate) name: &'a str,
    pub(crate) unit: &'a UnitName,
    pub(crate) host: &'a Specifiers,
    pub(crate) warnings: std::cell::RefCell<Vec<String>>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(file: &'a UnitFile, name: &'a str, unit: &'a UnitName, host: &'a Specifiers) -> Self {
        Self { file, name, unit, host, warnings: std::cell::RefCell::default() }
    }

    pub(crate) fn warn(&self, key: &str, value: &str) {
        self.warnings.borrow_mut().push(format!("{}: could not read {key}={value}, ignoring", self.unit));
    }

    pub(crate) fn expand(&self, text: &str) -> String {
        unit_file::expand(text, self.unit, self.host)
    }

    /// The last value, unless empty; specifiers replaced.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.file.last(self.name, key).filter(|value| !value.is_empty()).map(|value| self.expand(value))
    }

    /// The values of a list, with resets; specifiers replaced.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        self.file.list(self.name, key).into_iter().map(|value| self.expand(value)).collect()
    }

    /// All words of a list, with resets; specifiers replaced in each.
    pub(crate) fn words(&self, key: &str) -> Vec<String> {
        self.file.words(self.name, key).iter().map(|word| self.expand(word)).collect()
    }

    /// Those words of a list that `read` understands; others leave a warning.
    pub(crate) fn parsed_words<T>(&self, key: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        for word in self.words(key) {
            match read(&word) {
                Some(value) => found.push(value),
                None => self.warn(key, &word),
            }
        }
        found
    }

    /// The last value that `read` understands; others leave a warning.
    pub(crate) fn parsed<T>(&self, key: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut found = None;
        for value in self.file.values(self.name, key) {
            if value.is_empty() {
                found = None;
                continue;
            }
            match read(&self.expand(value)) {
                Some(value) => found = Some(value),
                None => self.warn(key, value),
            }
        }
        found
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> bool {
        self.parsed(key, parse_bool).unwrap_or(default)
    }

    /// A span in seconds; 0 and `infinity` mean no limit.
    pub(crate) fn limit(&self, key: &str, default: Option<Duration>) -> Option<Duration> {
        match self.parsed(key, |value| parse_span(value, Duration::from_secs(1))) {
            None => default,
            Some(TimeSpan::Infinite | TimeSpan::Finite(Duration::ZERO)) => None,
            Some(TimeSpan::Finite(span)) => Some(span),
        }
    }

    /// A span in seconds; `infinity` is a very long one.
    pub(crate) fn span(&self, key: &str, default: Duration) -> Duration {
        match self.parsed(key, |value| parse_span(value, Duration::from_secs(1))) {
            None => default,
            Some(TimeSpan::Infinite) => Duration::MAX,
            Some(TimeSpan::Finite(span)) => span,
        }
    }
}
