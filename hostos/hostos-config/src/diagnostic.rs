//! What is wrong with a config, and where: the one form in which this crate speaks to people.

use std::fmt;

use crate::json::Position;

/// Whether a config can be used in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It can.
    Warning,
    /// It cannot.
    Error,
}

/// One thing that is wrong with a config.
///
/// Displayed as `FILE:LINE:COLUMN: MESSAGE (at PATH)`, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the config can be used in spite of it.
    pub severity: Severity,
    /// Name of the config, as the caller gave it.
    pub file: String,
    /// From 1; 0 if the place is not known, as in a merged config.
    pub line: u32,
    /// From 1, in characters; 0 if the place is not known.
    pub column: u32,
    /// Where in the config, as `$.storage.files.0.mode`; empty if nowhere in particular.
    pub path: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do next, or empty.
    pub hint: String,
}

impl Diagnostic {
    pub(crate) fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, path.into(), message.into())
    }

    pub(crate) fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, path.into(), message.into())
    }

    fn new(severity: Severity, path: String, message: String) -> Self {
        Self { severity, file: String::new(), line: 0, column: 0, path, message, hint: String::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn at(mut self, at: Position) -> Self {
        self.line = at.line;
        self.column = at.column;
        self
    }

    pub(crate) fn in_file(mut self, file: &str) -> Self {
        self.file = file.into();
        self
    }

    /// Whether the config cannot be used because of it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.file.is_empty() {
            write!(f, ": ")?;
        }
        write!(f, "{}", self.message)?;
        if !self.path.is_empty() && self.path != "$" {
            write!(f, " (at {})", self.path)?;
        }
        Ok(())
    }
}

/// A config that cannot be used. Displays its first error; the rest is in `diagnostics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// At least one error, and the warnings beside, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Rejected {
    pub(crate) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        Self { diagnostics }
    }

    /// The first error.
    #[must_use]
    pub fn first(&self) -> Option<&Diagnostic> {
        self.errors().next()
    }

    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.is_error())
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.first() else { return write!(f, "the config was rejected") };
        write!(f, "{first}")?;
        match self.errors().count() {
            0 | 1 => Ok(()),
            2 => write!(f, ", and one more error"),
            count => write!(f, ", and {} more errors", count - 1),
        }
    }
}

impl std::error::Error for Rejected {}
