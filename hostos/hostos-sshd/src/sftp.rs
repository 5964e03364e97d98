//! The sftp server.
use std::ffi::OsString;
use std::process::ExitCode;
/// Serves sftp.
pub fn run(_args: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}
