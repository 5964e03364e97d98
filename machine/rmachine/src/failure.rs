//! How a command fails: what it says and its exit code.

use std::error::Error;
use std::process::ExitCode;

use machine_core::driver::{DriverError, ErrorKind};
use machine_store::{ImageError, StoreError};

/// What a failed command says, and its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) evidence: Vec<String>,
    pub(crate) code: u8,
}

/// docker-machine's code for a create that was refused before anything was made.
const CHECK_FAILED: u8 = 3;
/// As a shell gives it for Ctrl-C.
const INTERRUPTED: u8 = 130;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: String::new(), evidence: Vec::new(), code: 1 }
    }

    /// With an error and all its causes.
    pub(crate) fn because(message: impl Into<String>, error: &dyn Error) -> Self {
        Self::new(format!("{}: {}", message.into(), chain(error)))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Several failures as one; the first one's code counts.
    pub(crate) fn join(failures: Vec<Self>) -> Option<Self> {
        let mut failures = failures.into_iter();
        let mut first = failures.next()?;
        let rest: Vec<Self> = failures.collect();
        if rest.is_empty() {
            return Some(first);
        }
        first.fold_hint();
        for mut other in rest {
            other.fold_hint();
            first.message.push_str("\nerror: ");
            first.message.push_str(&other.message);
        }
        Some(first)
    }

    fn fold_hint(&mut self) {
        let hint = std::mem::take(&mut self.hint);
        for line in std::mem::take(&mut self.evidence) {
            self.message.push_str("\n  | ");
            self.message.push_str(&line);
        }
        if !hint.is_empty() {
            self.message.push_str("\nhint: ");
            self.message.push_str(&hint);
        }
    }

    pub(crate) fn print(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("error: {}", self.message);
        }
        for line in &self.evidence {
            eprintln!("  | {line}");
        }
        if !self.hint.is_empty() {
            eprintln!("hint: {}", self.hint);
        }
        ExitCode::from(self.code)
    }
}

/// An error with its causes, each once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        let code = match error.kind {
            ErrorKind::Check => CHECK_FAILED,
            ErrorKind::Cancelled => INTERRUPTED,
            ErrorKind::Unsupported | ErrorKind::Guest | ErrorKind::TimedOut | ErrorKind::Failed => 1,
        };
        Self { message: chain(&error), hint: error.hint, evidence: error.evidence, code }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let interrupted = matches!(error, StoreError::Interrupted(_));
        let full = matches!(&error, StoreError::Write { source, .. }
            if source.kind() == std::io::ErrorKind::StorageFull);
        let mut failure = Self::new(chain(&error));
        if full {
            failure.hint = "make room, or keep machines elsewhere with `--storage-path`".into();
        } else if matches!(error, StoreError::Busy { .. }) {
            failure.hint = "wait until it is done, and try again".into();
        }
        if interrupted { failure.code(INTERRUPTED) } else { failure }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let hint = "see `rmachine image ls`, or build one with `cargo xtask image`";
        Self::new(chain(&error)).hint(hint)
    }
}
