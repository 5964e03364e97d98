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
    /// The message is docker-machine's own line. Scripts compare it whole, so nothing stands before it.
    verbatim: bool,
}

/// docker-machine's code for a create that was refused before anything was made.
const CHECK_FAILED: u8 = 3;
const MAKE_ROOM: &str = "make room, or keep machines elsewhere with `--storage-path`";
/// As a shell gives it for Ctrl-C.
const INTERRUPTED: u8 = 130;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { message, hint: String::new(), evidence: Vec::new(), code: 1, verbatim: false }
    }

    /// In docker-machine's own words.
    pub(crate) fn elder(message: impl Into<String>) -> Self {
        Self { verbatim: true, ..Self::new(message) }
    }

    /// Told of as part of something larger.
    pub(crate) fn within(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self.verbatim = false;
        self
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
    pub(crate) fn join(mut failures: Vec<Self>) -> Option<Self> {
        if failures.len() < 2 {
            return failures.pop();
        }
        let texts: Vec<String> = failures.iter().map(Self::text).collect();
        Some(Self::elder(texts.join("\n")).code(failures[0].code))
    }

    pub(crate) fn print(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("{}", self.text());
        }
        ExitCode::from(self.code)
    }

    fn text(&self) -> String {
        let mut text = if self.verbatim { String::new() } else { "error: ".to_owned() };
        text.push_str(&self.message);
        for line in &self.evidence {
            text.push_str("\n  | ");
            text.push_str(line);
        }
        if !self.hint.is_empty() {
            text.push_str("\nhint: ");
            text.push_str(&self.hint);
        }
        text
    }
}

/// Whether a full disk is behind it.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
        || error.source().is_some_and(is_full)
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
        let full = error.hint.is_empty() && is_full(&error);
        let mut failure = Self::new(chain(&error)).code(code);
        failure.hint = if full { MAKE_ROOM.into() } else { error.hint };
        failure.evidence = error.evidence;
        failure
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let interrupted = matches!(error, StoreError::Interrupted(_));
        let mut failure = match &error {
            StoreError::NoMachine(_) => Self::elder(chain(&error)),
            _ => Self::new(chain(&error)),
        };
        if is_full(&error) {
            failure.hint = MAKE_ROOM.into();
        } else if matches!(error, StoreError::Busy { .. }) {
            failure.hint = "wait until it is done, and try again".into();
        }
        if interrupted { failure.code(INTERRUPTED) } else { failure }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let hint = if is_full(&error) {
            MAKE_ROOM
        } else {
            "see `rmachine image ls`, or build one with `cargo xtask image`"
        };
        Self::new(chain(&error)).hint(hint)
    }
}
