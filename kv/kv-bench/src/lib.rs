//! A load generator for any server that speaks etcd's v3 API: ours, or the one it is compared with.
//!
//! Each load runs for a while with so many clients at once and ends in [`Figures`]; the program prints them as one
//! line of JSON. The client shares the machine with the server, so compare only runs that alternate: without the name
//! of a load, [`compare`] starts both servers in turn, on one node and on three, and prints a table.

mod compare;
mod figures;
mod load;
mod servers;
mod siege;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{CommandFactory as _, Parser, Subcommand};

pub use compare::{CompareError, Plan, Row, compare};
pub use figures::Figures;
pub use load::{Load, LoadError, drive};
pub use servers::ServersError;
pub use siege::{Outcome, Siege, SiegeError, siege};

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
    /// Print the comparison as one JSON object
    #[arg(long)]
    json: bool,
    /// Rounds of the comparison
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each load of the comparison
    #[arg(long, default_value_t = 3.0)]
    secs: f64,
    /// Keys of the comparison's test of memory and restart; 0 leaves it out
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// The elder's program
    #[arg(long, default_value = "etcd")]
    elder: String,
    /// Our program [default: kvd beside this one]
    #[arg(long)]
    ours: Option<String>,
    #[command(subcommand)]
    load: Option<Kind>,
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
    /// Three members of ours under steady writes of 1 KiB; fails when one falls or they differ afterwards
    Siege {
        #[arg(long, default_value_t = 600)]
        secs: u64,
        /// Writes a second at most
        #[arg(long, default_value_t = 16_000)]
        rate: u64,
        #[arg(long, default_value_t = 256)]
        clients: u64,
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
    let Some(load) = args.load else { return run_compare(args) };
    if let Kind::Siege { secs, rate, clients } = load {
        let program = args.ours.unwrap_or_else(beside);
        return run_siege(&Siege { program, secs, rate, clients, dir: scratch() });
    }
    let (load, clients, secs) = match load {
        Kind::Put { clients, secs } => (Load::Put, clients, secs),
        Kind::Get { clients, secs, serializable } => (Load::Get { serializable }, clients, secs),
        Kind::Lease { clients, secs } => (Load::KeepAlive, clients, secs),
        Kind::Watch { clients, secs } => (Load::Watch, clients, secs),
        Kind::Fill { keys } => (Load::Fill { keys }, 32, 3600.0),
        Kind::Siege { .. } => unreachable!("run above"),
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

/// kvd beside this program.
fn beside() -> String {
    let own = std::env::current_exe().ok();
    own.map_or_else(|| "kvd".to_owned(), |own| own.with_file_name("kvd").display().to_string())
}

fn scratch() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("kv-bench-{}", std::process::id()))
}

fn run_siege(plan: &Siege) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(siege(plan)) {
        Ok(outcome) => {
            let Outcome { done, errors, per_second, longest_gap_ms, stored_mib } = outcome;
            let figures = serde_json::json!({
                "done": done,
                "errors": errors,
                "per_second": per_second.round(),
                "longest_gap_ms": longest_gap_ms,
                "stored_mib": stored_mib,
            });
            println!("{figures}");
            let _ = std::fs::remove_dir_all(&plan.dir);
            ExitCode::SUCCESS
        }
        Err(error) => {
            // The members' logs stay to be read.
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_compare(args: Args) -> ExitCode {
    let plan = Plan {
        elder: args.elder,
        ours: args.ours.unwrap_or_else(beside),
        rounds: args.rounds.max(1),
        secs: args.secs,
        keys: args.keys,
        dir: scratch(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let compared = runtime.block_on(compare(&plan));
    let _ = std::fs::remove_dir_all(&plan.dir);
    match compared {
        Ok(rows) if args.json => {
            let fields: serde_json::Map<String, serde_json::Value> = rows
                .iter()
                .map(|row| {
                    let figures =
                        serde_json::json!({"elder": row.elder, "ours": row.ours, "ratio": row.ratio()});
                    (row.name.clone(), figures)
                })
                .collect();
            println!("{}", serde_json::Value::Object(fields));
            ExitCode::SUCCESS
        }
        Ok(rows) => {
            println!("{:<44} {:>12} {:>12} {:>8}  aim", "", "elder", "ours", "ratio");
            for row in rows {
                let ratio = row.ratio();
                println!("{:<44} {:>12.2} {:>12.2} {ratio:>8.2}  {}", row.name, row.elder, row.ours, row.aim);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
