//! v2's errors: numbers, texts, and the HTTP status that goes with each.

use serde_json::json;

/// A refusal, in v2's own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub cause: String,
}

impl Refusal {
    pub(crate) fn new(code: u16, cause: impl Into<String>) -> Self {
        Self { code, cause: cause.into() }
    }

    /// etcd's text for the code.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self.code {
            100 => "Key not found",
            101 => "Compare failed",
            102 => "Not a file",
            104 => "Not a directory",
            105 => "Key already exists",
            107 => "Root is read only",
            108 => "Directory not empty",
            201 => "PrevValue is Required in POST form",
            202 => "The given TTL in POST form is not a number",
            203 => "The given index in POST form is not a number",
            209 => "Invalid field",
            210 => "Invalid POST form",
            211 => "Value provided on refresh",
            212 => "A TTL must be provided on refresh",
            300 => "Raft Internal Error",
            301 => "During Leader Election",
            400 => "watcher is cleared due to etcd recovery",
            401 => "The event in requested index is outdated and cleared",
            _ => "Unknown error",
        }
    }

    /// The HTTP status that goes with the code.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code {
            100 => 404,
            101 | 105 => 412,
            102 | 108 => 403,
            300 | 301 => 500,
            _ => 400,
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_json(&self, index: i64) -> String {
        json!({"errorCode": self.code, "message": self.message(), "cause": self.cause, "index": index})
            .to_string()
    }
}
