//! The command line that makes machines and keeps them: docker-machine's habits, none of its pains.
//!
//! Here are commands and what they print. How a machine is made is the drivers' knowledge, where it
//! is kept the store's. There is no daemon: each command looks at what is and ends.

#[macro_use]
extern crate quiet_stdout;

mod cli;
mod cluster;
mod commands;
mod context;
mod discovery;
mod engine;
mod failure;
mod image;
mod interrupt;
mod keys;
mod machine;
mod misuse;
mod progress;
mod switch;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

/// The definition of all commands and flags, for help pages, man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    usage_first(cli::Cli::command())
}

/// Scripts look for the usage in the first line of a help page, where docker-machine has it.
fn usage_first(command: clap::Command) -> clap::Command {
    command
        .help_template("{usage-heading} {usage}\n\n{about-with-newline}\n{all-args}{after-help}")
        .mut_subcommands(usage_first)
}

/// Runs `rmachine` with these arguments, the first being the program's name.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let parsed =
        command().try_get_matches_from(args).and_then(|matches| cli::Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return misuse::tell(&error),
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
