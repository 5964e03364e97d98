//! fleet's command line: submit units to a cluster, start and stop them, see where they are and why.
//!
//! Each command is a file in `commands`; all speak to one fleetd through [`client::Client`], over its
//! unix socket, over mutual TLS, or through ssh.

#[macro_use]
extern crate quiet_stdout;

mod cli;
mod client;
mod commands;
mod failure;
mod table;
mod tunnel;
mod unit_args;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::{Cli, Verb};
use client::Client;
use failure::Failure;

/// The definition of the command line, for help, man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs one command.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(asking_for_help(with_words_of_go(args))) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()) * 2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{}{failure}", failure.label());
            if let Some(hint) = failure.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(failure.code())
        }
    }
}

/// No words, `-h` and `--help` ask for the same as `help`, `--version` and `-v` for the same as `version`.
fn asking_for_help(mut args: Vec<OsString>) -> Vec<OsString> {
    match args.get(1).and_then(|first| first.to_str()) {
        None if args.len() < 2 => args.push("help".into()),
        Some("-h" | "-help" | "--help") if args.len() == 2 => args[1] = "help".into(),
        Some("-v" | "-version" | "--version") => {
            args.truncate(1);
            args.push("version".into());
        }
        _ => {}
    }
    args
}

/// fleetctl's hands know `-no-block` and `--no-block` alike: Go's flags take one dash or two.
fn with_words_of_go(args: Vec<OsString>) -> Vec<OsString> {
    let long = |text: &str| {
        let name = text.strip_prefix('-')?;
        let is_word =
            name.len() > 2 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.contains('-')
                || [
                    "-full",
                    "-fields",
                    "-endpoint",
                    "-tunnel",
                    "-replace",
                    "-lines",
                    "-follow",
                    "-machine",
                    "-unit",
                ]
                .contains(&text.split('=').next()?);
        is_word.then(|| OsString::from(format!("--{name}")))
    };
    args.into_iter().map(|arg| arg.to_str().and_then(long).unwrap_or(arg)).collect()
}

async fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let client = Client::new(&cli.global)?;
    let json = cli.global.format == cli::Format::Json;
    match cli.verb {
        Verb::Cat(args) => commands::cat::run(&client, &args).await,
        Verb::Destroy(args) => commands::change::destroy(&client, &args).await,
        Verb::Drain(args) => commands::drain::run(&client, &args.machine, true).await,
        Verb::Undrain(args) => commands::drain::run(&client, &args.machine, false).await,
        Verb::Events(args) => commands::events::run(&client, &args, json).await,
        Verb::FdForward(args) => commands::fd_forward::run(&args).await,
        Verb::Init(args) => commands::membership::init(&args),
        Verb::Join(args) => commands::membership::join(&args).await,
        Verb::Leave(args) => commands::membership::leave(&client, &args).await,
        Verb::ListMembers => commands::membership::list(&client, json).await,
        Verb::Remove(args) => commands::membership::remove(&client, &args).await,
        Verb::Token(args) => commands::membership::token(&client, &args).await,
        Verb::Journal(args) => commands::journal::journal(&client, &args).await,
        Verb::Status(args) => commands::journal::status(&client, &args).await,
        Verb::ListMachines(args) => commands::list::machines(&client, &args, json).await,
        Verb::ListUnitFiles(args) => commands::list::unit_files(&client, &args, json).await,
        Verb::ListUnits(args) => commands::list::units(&client, &args, json).await,
        Verb::Submit(args) => commands::change::submit(&client, &args).await,
        Verb::Load(args) => commands::change::load(&client, &args).await,
        Verb::Start(args) => commands::change::start(&client, &args).await,
        Verb::Stop(args) => commands::change::stop(&client, &args).await,
        Verb::Unload(args) => commands::change::unload(&client, &args).await,
        Verb::Restart(args) => commands::change::restart(&client, &args).await,
        Verb::Scale(args) => commands::scale::run(&client, &args).await,
        Verb::Ssh(args) => commands::ssh::run(&client, &cli.global, &args).await,
        Verb::Verify(args) => commands::verify::run(&args),
        Verb::Version => {
            say!("fleetctl version {}", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
        Verb::Why(args) => commands::why::run(&client, &args, json).await,
    }
}
