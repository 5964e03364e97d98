//! How a test says that it cannot run here: by hand it is skipped, and where everything was set up
//! for the tests that is a failure.

use std::fmt::Display;

/// Set by `cargo xtask test`, which installs what the tests need.
const SET_UP: &str = "TESTS_MUST_RUN";

/// Prints the reason; the caller returns then.
///
/// # Panics
/// `TESTS_MUST_RUN` is set.
#[track_caller]
pub fn skip(reason: impl Display) {
    assert!(std::env::var_os(SET_UP).is_none(), "this test must run here, but: {reason}");
    println!("skipped: {reason}");
}
