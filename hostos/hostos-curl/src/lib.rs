//! The part of curl that units and people use: http and https, on TCP or a unix socket, with curl's
//! flags, messages and exit codes.
//!
//! It speaks HTTP/1.1 only, knows no proxy and no cookie jar, and writes no progress meter. A flag
//! that it does not know is refused, as curl does with one of its own.

mod client;
mod connect;
mod error;
mod options;
mod output;
mod request;
mod retry;
mod tls;
mod transfer;
mod write_out;

use std::ffi::OsString;
use std::process::ExitCode;

pub use error::CurlError;
use options::Options;

/// curl's own code for what it cannot make sense of.
const MISUSED: u8 = 2;

/// Runs `curl` with these arguments, of which the first is its name.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { MISUSED } else { 0 });
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(transfer::all(&options));
            // A name that is still looked up must not hold the program up.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("curl: (2) cannot start: {error}");
            MISUSED
        }
    };
    ExitCode::from(code)
}
