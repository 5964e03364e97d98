//! `kvctl`: etcdctl v3's commands and outputs, for `kvd` and for a real etcd. Started as `etcdctl` it is the same.
//!
//! One file per family of commands; `output` prints replies as simple text, JSON, fields or a table.

#[macro_use]
extern crate quiet_stdout;

mod cluster;
mod flags;
mod hold;
mod keys;
mod lease;
mod output;
mod snapshot;
mod txn;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, Parser as _};

use flags::{Args, Command};
use output::Output;

/// The command line, for help, man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// The program.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(128) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(perform(args)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a command may fail with: shown after `Error: `.
pub(crate) type Failure = Box<dyn std::error::Error>;

async fn perform(args: Args) -> Result<ExitCode, Failure> {
    let out = Output { format: args.write_out, hex: args.hex };
    if let Command::Version = args.command {
        say!("etcdctl version: {}\nAPI version: 3.5", kv_api::ETCD_VERSION);
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Snapshot(command) = &args.command
        && !command.needs_cluster()
    {
        return snapshot::offline(command, &out);
    }
    let session = args.session()?;
    match args.command {
        Command::Put(command) => keys::put(&session, &out, command).await,
        Command::Get(command) => keys::get(&session, &out, command).await,
        Command::Del(command) => keys::del(&session, &out, command).await,
        Command::Watch(command) => keys::watch(&session, &out, command).await,
        Command::Compaction { revision, physical } => keys::compact(&session, revision, physical).await,
        Command::Txn { interactive: _ } => txn::txn(&session, &out).await,
        Command::Lease(command) => lease::lease(&session, &out, command).await,
        Command::Member(command) => cluster::member(&session, &out, command).await,
        Command::Endpoint(command) => cluster::endpoint(&session, &out, command).await,
        Command::Alarm(command) => cluster::alarm(&session, &out, command).await,
        Command::Defrag { .. } => cluster::defrag(&session).await,
        Command::MoveLeader { id } => cluster::move_leader(&session, &id).await,
        Command::Snapshot(command) => snapshot::save(&session, command).await,
        Command::Lock { name, ttl, exec } => hold::lock(&session, &name, ttl, &exec).await,
        Command::Elect { name, proposal, listen } => {
            hold::elect(&session, &out, &name, proposal, listen).await
        }
        Command::Version => Ok(ExitCode::SUCCESS),
    }
}
