//! One file per command. Adding one is a file, a line here and a line in `cli`.

pub(crate) mod active;
pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod env;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod power;
pub(crate) mod rm;
pub(crate) mod show;
pub(crate) mod ssh;

use std::process::ExitCode;
use std::thread;

use machine_types::MachineName;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::failure::Failure;

pub(crate) fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let context = Context::new(&cli.global)?;
    match cli.command {
        Command::Active(args) => active::run(&context, &args),
        Command::Config(args) => config::run(&context, &args),
        Command::Create(args) => create::run(&context, &args),
        Command::Env(args) => env::run(&context, &args),
        Command::Inspect(args) => inspect::run(&context, &args),
        Command::Ip(args) => show::ip(&context, &args),
        Command::Kill(args) => power::kill(&context, &args),
        Command::Ls(args) => ls::run(&context, &args),
        Command::Restart(args) => power::restart(&context, &args),
        Command::Rm(args) => rm::run(&context, &args),
        Command::Ssh(args) => ssh::run(&context, &args),
        Command::Start(args) => power::start(&context, &args),
        Command::Status(args) => show::status(&context, &args),
        Command::Stop(args) => power::stop(&context, &args),
        Command::Url(args) => show::url(&context, &args),
        Command::Version(args) => show::version(&context, &args),
    }
}

/// Does the same to all these machines at once, and joins what failed.
fn each(
    names: &[MachineName],
    work: impl Fn(&MachineName) -> Result<(), Failure> + Sync,
) -> Result<ExitCode, Failure> {
    let results: Vec<Result<(), Failure>> = match names {
        [name] => vec![work(name)],
        names => thread::scope(|scope| {
            let running: Vec<_> = names.iter().map(|name| scope.spawn(|| work(name))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err(Failure::new("a bug in rmachine: a thread panicked")))
            };
            running.into_iter().map(join).collect()
        }),
    };
    match Failure::join(results.into_iter().filter_map(Result::err).collect()) {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::SUCCESS),
    }
}
