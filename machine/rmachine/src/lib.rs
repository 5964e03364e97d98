//! The command line that makes machines and keeps them: docker-machine's habits, none of its pains.
//!
//! Here are commands and what they print. How a machine is made is the drivers' knowledge, where it
//! is kept the store's. There is no daemon: each command looks at what is and ends.

mod cli;
mod commands;
mod context;
mod engine;
mod failure;
mod image;
mod interrupt;
mod keys;
mod machine;
mod progress;
mod switch;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

/// The definition of all commands and flags, for help pages, man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    cli::Cli::command()
}

/// Runs `rmachine` with these arguments, the first being the program's name.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match cli::Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing to be done if even that cannot be printed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    if cli.global.debug {
        let subscriber =
            tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::DEBUG);
        // Set once per process; a second run in the same process keeps the first.
        let _ = subscriber.try_init();
    }
    match commands::dispatch(cli) {
        Ok(code) => code,
        Err(failure) => failure.print(),
    }
}
