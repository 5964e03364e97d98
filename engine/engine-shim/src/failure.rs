//! Why a container or program did not start, in the words users know.

use std::io;

use crate::sys;

/// The exit code Docker reports, and the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: i32,
    pub message: String,
}

/// The program could not be found.
pub const NOT_FOUND: i32 = 127;
/// The program could not be executed.
pub const NOT_EXECUTABLE: i32 = 126;
/// Anything else before the program ran.
pub const SETUP: i32 = 128;

impl Failure {
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `what: permission denied`
    pub fn io(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::new(SETUP, format!("{what}: {}", sys::errno_text(error)))
    }
}

/// Puts what was being done before an error.
pub trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::io(what(), &error))
    }
}
