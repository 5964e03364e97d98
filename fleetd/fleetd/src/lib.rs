//! The daemon of a machine that runs units across machines: it says that the machine is there, runs
//! what the machine is to run, schedules for all machines while it leads, and serves the API.
//!
//! The parts share nothing but the store: each takes what it needs from [`fleet_registry`] and goes
//! on by itself when the store does not answer. A store that is gone stops no unit.

mod agent;
mod api;
mod config;
mod credentials;
mod daemon;
mod endpoints;
mod member;
mod metrics;
mod neighbours;
mod renewal;
mod revocations;
mod scheduler;
mod signer;
mod store_tls;
mod units;
mod view;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

pub use config::{Config, ConfigError, UnitManagerKind};

/// The parts of the daemon, for a simulation that puts many of them into one process.
pub mod parts {
    pub use crate::agent::Agent;
    pub use crate::member::{LeaseView, keep as keep_registered};
    pub use crate::metrics::Metrics;
    pub use crate::neighbours::Neighbours;
    pub use crate::scheduler::run as schedule;
}

/// The definition of the command line, for help, man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    config::Cli::command()
}

/// Runs the daemon until it is told to end.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match config::Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()) * 2);
        }
    };
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: config::Cli) -> anyhow::Result<()> {
    let config = Config::load(&cli, &|key| std::env::var(key).ok())?;
    let level = if config.verbosity > 0 { "debug" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| level.into());
    // A second daemon in one process (tests) keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(daemon::serve(config, cli))
}
