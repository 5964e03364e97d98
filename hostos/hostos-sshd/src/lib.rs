//! The ssh server of a machine: keys only, one account per line of /etc/passwd.
//!
//! [`run`] serves commands, shells on a terminal, sftp and forwarded connections. There are no
//! passwords, no certificates, no X11 and no agent forwarding.

mod accounts;
mod child;
mod forward;
mod host_key;
mod keys;
mod options;
mod server;
mod session;
mod sftp;
mod stdin;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

pub use options::command;
pub use sftp::run as run_sftp_server;

/// Serves until it is told to stop.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let options = match options::parse(args) {
        Ok(options) => options,
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
    };
    let _ = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .try_init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(server::serve(options)),
        Err(error) => Err(server::ServeError::Runtime(error)),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sshd: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
