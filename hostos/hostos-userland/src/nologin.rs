//! `nologin`: the shell of accounts that nobody logs in to.

use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) fn run(_args: Vec<OsString>) -> ExitCode {
    println!("This account is not for logging in.");
    ExitCode::FAILURE
}
