//! A load generator for any server that speaks etcd's v3 API: ours, or the one it is compared with.
//!
//! Each load runs for a while with so many clients at once and ends in [`Figures`]; the program prints them as one
//! line of JSON. The client shares the machine with the server, so compare only runs that alternate. It starts no
//! server itself.

mod figures;
mod load;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{CommandFactory as _, Parser, Subcommand};

pub use figures::Figures;
pub use load::{Load, LoadError, drive};

/// Load an etcd or kvd and print one line of figures
#[derive(Parser)]
#[command(name = "kv-bench")]
struct Args {
    /// Endpoints, comma separated
    #[arg(long, default_value = "http://127.0.0.1:2379")]
    endpoints: String,
    /// Connections; each goes to the next endpoint
    #[arg(long, default_value_t = 16)]
    conns: usize,
    #[command(subcommand)]
    load: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Puts of 256 bytes to random keys
    Put {
        #[arg(long, default_value_t = 1)]
        clients: usize,
        #[arg(long, default_value_t = 5.0)]
        secs: f64,
    },
    /// Gets of random keys; run put first
    Get {
        #[arg(long, default_value_t = 64)]
        clients: usize,
        #[arg(long, default_value_t = 5.0)]
        secs: f64,
        #[arg(long)]
        serializable: bool,
    },
    /// Keep-alives of as many leases as clients
    Lease {
        #[arg(long, default_value_t = 64)]
        clients: usize,
        #[arg(long, default_value_t = 5.0)]
        secs: f64,
    },
    /// Watchers of one key; figures are from each put to its last delivery
    Watch {
        #[arg(long, default_value_t = 1000)]
        clients: usize,
        #[arg(long, default_value_t = 5.0)]
        secs: f64,
    },
    /// Distinct keys of 64 bytes, a hundred in a transaction
    Fill {
        #[arg(long, default_value_t = 1_000_000)]
        keys: usize,
    },
}

/// The command line, for help.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// The program.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    let endpoints: Vec<String> = args.endpoints.split(',').map(str::to_owned).collect();
    let (load, clients, secs) = match args.load {
        Kind::Put { clients, secs } => (Load::Put, clients, secs),
        Kind::Get { clients, secs, serializable } => (Load::Get { serializable }, clients, secs),
        Kind::Lease { clients, secs } => (Load::KeepAlive, clients, secs),
        Kind::Watch { clients, secs } => (Load::Watch, clients, secs),
        Kind::Fill { keys } => (Load::Fill { keys }, 32, 3600.0),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(drive(&endpoints, args.conns, load, clients, Duration::from_secs_f64(secs))) {
        Ok(figures) => {
            println!("{}", figures.to_json());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
