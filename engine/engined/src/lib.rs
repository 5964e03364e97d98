//! The container engine's daemon: the Docker Remote API over engine-runtime, engine-image and engine-net.
//!
//! [`run`] is the whole program: it reads flags and daemon.json, takes the data root for itself, opens the
//! sockets, takes over the containers that ran on without it, and serves until SIGTERM. Containers are not
//! stopped when it ends: each has a shim of its own.

mod api;
mod claim;
mod clock;
mod daemon;
mod listen;
mod options;
mod signals;
mod unread;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

pub use options::command;
use options::{Config, OptionsError};

/// Threads for requests; the work itself is done by the kernel, the shims, and the blocking pool.
const WORKERS: usize = 2;
/// Threads for file work; each followed log has one. Idle ones end by themselves.
const BLOCKING: usize = 512;

/// Runs the engine until it is told to stop.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let config = match options::load(args) {
        Ok(config) => config,
        Err(OptionsError::Usage(usage)) => {
            // A closed stdout or stderr is no reason for another complaint.
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    if config.validate {
        eprintln!("configuration OK");
        return ExitCode::SUCCESS;
    }
    start_logging(&config);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to start daemon: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> anyhow::Result<()> {
    for note in &config.notes {
        tracing::info!("{note}");
    }
    let _claim = claim::take(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = signals::Stop::install()?;
        let listeners = listen::open(&config)?;
        let daemon = daemon::Daemon::open(config).await?;
        let api = Arc::new(api::Api::new(daemon.clone()));
        tracing::info!("Daemon has completed initialization");
        let metrics = Arc::new(api::MetricsPage::new(daemon.clone()));
        // Whoever supervises us may wait for that. Without one there is nobody to tell.
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            tracing::warn!(%error, "could not tell the supervisor that the engine serves");
        }
        listen::serve(listeners, api, metrics, stop).await;
        daemon.stop_serving();
        anyhow::Ok(())
    })?;
    // Requests that still block (a hung file system) are not waited for longer than this.
    runtime.shutdown_timeout(std::time::Duration::from_secs(3));
    Ok(())
}

fn start_logging(config: &Config) {
    let level = match config.log_level.as_str() {
        _ if config.debug => "debug",
        "fatal" => "error",
        level => level,
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let logger =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter);
    // A test may have set up logging for the process already.
    let _ = logger.try_init();
}
