//! `kvd`: a replicated key-value store that speaks etcd's API, started with etcd's flags.
//!
//! [`run`] is the program. [`Server`] is one member: it owns the log, the state, the listeners and every task.
//! - `flags`, `config`: what it was told, checked; `bootstrap`: which cluster it founds or joins
//! - `grpc`: etcd's services, one file each; `hub`: feeding watches; `lessor`: when leases end
//! - `peer`: the wire between members; `serve`: one port for gRPC and HTTP, with or without TLS
//! - `http`: what is no gRPC; `health`: what probes ask; `metrics`; `gateway`: the JSON gateway; `v2`: keys and discovery of the first API
//! - `compactor`: forgetting history and guarding the quota
//!
//! The consensus is in `kv-raft`, the rules of the API in `kv-core`.

mod bootstrap;
mod compactor;
mod config;
mod flags;
mod gateway;
mod grpc;
mod health;
mod http;
mod hub;
mod lessor;
mod metrics;
mod peer;
mod restore;
mod serve;
mod server;
mod tls;
mod v2;

use std::{ffi::OsString, process::ExitCode};

use clap::CommandFactory as _;

pub use config::{Config, ConfigError};
pub use server::{Server, ServerError};

/// The program. `args[0]` is the name it was started under; `etcd` behaves the same.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let flags = match flags::Flags::read(args) {
        Ok(flags) => flags,
        Err(misuse) if misuse.help => {
            print!("{misuse}");
            return ExitCode::SUCCESS;
        }
        Err(misuse) => {
            eprintln!("{misuse}");
            return ExitCode::from(misuse.code);
        }
    };
    if flags.version {
        println!(
            "etcd Version: {}\nGit SHA: {}\nGo Version: none (Rust)\nGo OS/Arch: linux/{}",
            kv_api::ETCD_VERSION,
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH
        );
        return ExitCode::SUCCESS;
    }
    start_logging(&flags.log_level);
    for note in &flags.notes {
        tracing::warn!("{note}");
    }
    let config = match Config::new(flags) {
        Ok(config) => config,
        Err(error) => {
            let text = if error.is_about_flags() {
                format!("error verifying flags, {error}. See 'etcd --help'.")
            } else {
                error.to_string()
            };
            eprintln!("{text}");
            return ExitCode::from(error.code());
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .thread_name("kvd")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(live(config)),
        Err(error) => complain(&error),
    }
}

/// Half of the cores, four at most. The log's thread, the state's and the kernel work beside them, and what a request
/// passes through on its way costs more when each step wakes another worker.
fn workers() -> usize {
    (std::thread::available_parallelism().map_or(2, usize::from) / 2).clamp(1, 4)
}

/// The command line, for help, man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    flags::Flags::command()
}

async fn live(config: Config) -> ExitCode {
    let server = match Server::start(config).await {
        Ok(server) => server,
        Err(error) => return complain(&error),
    };
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => return complain(&error),
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("terminated, handing over"),
        _ = tokio::signal::ctrl_c() => tracing::info!("interrupted, handing over"),
        reason = server.stopped() => {
            tracing::error!(reason, "this member cannot go on");
            return ExitCode::FAILURE;
        }
    }
    server.shut_down().await;
    ExitCode::SUCCESS
}

fn complain(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    eprintln!("error: {text}");
    ExitCode::FAILURE
}

fn start_logging(level: &str) {
    use tracing_subscriber::EnvFilter;
    let level = match level {
        "panic" | "fatal" | "dpanic" => "error",
        level => level,
    };
    let filter = EnvFilter::try_from_env("KVD_LOG")
        .or_else(|_| EnvFilter::try_new(format!("{level},openraft=error")))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let colours =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .try_init();
}
