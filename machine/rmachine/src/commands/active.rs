//! `rmachine active`: the machine that DOCKER_HOST points to.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::commands::ls::{Ask, list};
use crate::context::Context;
use crate::failure::Failure;

/// Flags of `active`.
#[derive(Debug, Args)]
pub(crate) struct Active {
    /// Seconds to wait for machines to tell their state
    #[arg(long, short = 't', default_value_t = 10, value_name = "SECONDS")]
    timeout: u64,
}

pub(crate) fn run(context: &Context, args: &Active) -> Result<ExitCode, Failure> {
    let limit = Duration::from_secs(args.timeout);
    let items = list(context, &context.store.names()?, limit, Ask::State);
    if let Some(item) = items.iter().find(|item| item.active_host || item.active_swarm) {
        say!("{}", item.name);
        return Ok(ExitCode::SUCCESS);
    }
    if items.iter().any(|item| item.state == machine_types::State::Timeout) {
        return Err(
            Failure::elder("Error getting active host: timeout").hint("allow more with `--timeout SECONDS`")
        );
    }
    Err(Failure::elder("No active host found").hint("choose one with `eval $(rmachine env NAME)`"))
}
