//! Many machines in one process: real agents and real schedulers on a real store, only the unit
//! managers keep account instead of processes. What is measured is scheduler, store and agents
//! together, as the [`Figures`] say.
//!
//! The store is one that it starts itself (`--start kvd`), or one that is there and empty: it writes
//! below fleet's usual prefix.

mod alone;
mod chaos;
mod fleet;
mod manager;
mod proxy;
mod scenario;
mod store;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

pub use alone::placements_per_second;
pub use chaos::{Chaos, Survived};
pub use scenario::{Figures, simulate};

/// Measure a fleet of simulated machines
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "fleet-sim", version)]
pub struct Options {
    /// Endpoints of an empty key-value store, separated by commas
    #[arg(long, value_name = "URLS", value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    pub etcd_servers: Vec<String>,
    /// Start a store of three members of this program (kvd or etcd) for the run
    #[arg(long, value_name = "PROGRAM", conflicts_with = "etcd_servers")]
    pub start: Option<std::path::PathBuf>,
    /// Where that store keeps its data; a temporary directory by default
    #[arg(long, value_name = "DIR", requires = "start")]
    pub data: Option<std::path::PathBuf>,
    /// How many machines
    #[arg(long, default_value = "1000", value_name = "N")]
    pub machines: usize,
    /// How many units for each machine
    #[arg(long, default_value = "10", value_name = "N")]
    pub units: usize,
    /// How many units the scheduler places on 5,000 machines when it is measured alone
    #[arg(long, default_value = "50000", value_name = "N")]
    pub alone: usize,
    /// How many units are started one by one in the full fleet
    #[arg(long, default_value = "200", value_name = "N")]
    pub single: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The definition of the command line, for help, man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Options::command()
}

/// Simulates and prints.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()) * 2);
        }
    };
    match start(&options) {
        Ok(figures) if options.json => println!("{}", figures.to_json()),
        Ok(figures) => print!("{figures}"),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn start(options: &Options) -> anyhow::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let Some(program) = &options.start else { return runtime.block_on(simulate(options)) };
    let store = store::Store::start(program, options.data.as_deref())?;
    let options = Options { etcd_servers: store.endpoints().to_vec(), ..options.clone() };
    runtime.block_on(simulate(&options))
}
