//! `rmachine completion`: words for the shell to complete.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use crate::failure::Failure;

/// Flags of `completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// Shell to print for
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Completion) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "rmachine", &mut script);
    put!("{}", String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
