//! One file per command. Adding one is a file, a line here and a line in `cli`.

pub(crate) mod active;
pub(crate) mod certs;
pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod discovery;
pub(crate) mod env;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod port;
pub(crate) mod power;
pub(crate) mod pxe;
pub(crate) mod rm;
pub(crate) mod scp;
pub(crate) mod show;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod tools;
pub(crate) mod upgrade;

use std::process::ExitCode;
use std::thread;

use crate::cli::{Cli, Command};
use crate::context::Context;
use crate::failure::Failure;

/// Words of a command that is refused in any case.
#[derive(Debug, clap::Args)]
pub(crate) struct Ignored {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<String>,
}

pub(crate) fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let context = Context::new(&cli.global)?;
    match cli.command {
        Command::Active(args) => active::run(&context, &args),
        Command::Cluster(args) => cluster::run(&context, &args),
        Command::Completion(args) => completion::run(&args),
        Command::Config(args) => config::run(&context, &args),
        Command::Create(args) => create::run(&context, &args),
        Command::Discovery(args) => discovery::run(&context, &args),
        Command::Etcdctl(args) => tools::run(&context, "etcdctl", &args),
        Command::Env(args) => env::run(&context, &args),
        Command::Fleetctl(args) => tools::run(&context, "fleetctl", &args),
        Command::Image(args) => image::run(&context, &args),
        Command::Inspect(args) => inspect::run(&context, &args),
        Command::Ip(args) => show::ip(&context, &args),
        Command::Kill(args) => power::kill(&context, &args),
        Command::Kvctl(args) => tools::run(&context, "kvctl", &args),
        Command::Logs(args) => logs::run(&context, &args),
        Command::Ls(args) => ls::run(&context, &args),
        Command::Mount(_) => Err(Failure::new("machines cannot mount folders of each other yet")
            .hint("copy files with `rmachine scp -r`")),
        Command::NetworkSwitch(args) => crate::switch::run(&context, &args),
        Command::Port(args) => port::run(&context, &args),
        Command::Provision(args) => certs::provision(&context, &args),
        Command::Pxe(args) => pxe::run(&context, &args),
        Command::RegenerateCerts(args) => certs::regenerate(&context, &args),
        Command::Restart(args) => power::restart(&context, &args),
        Command::Rm(args) => rm::run(&context, &args),
        Command::Scp(args) => scp::run(&context, &args),
        Command::Ssh(args) => ssh::run(&context, &args),
        Command::Start(args) => power::start(&context, &args),
        Command::Status(args) => status::run(&context, &args),
        Command::Stop(args) => power::stop(&context, &args),
        Command::Upgrade(args) => upgrade::run(&context, &args),
        Command::Url(args) => show::url(&context, &args),
        Command::Version(args) => show::version(&context, &args),
    }
}

/// Does the same to all these machines at once, and joins what failed.
fn each<N: Sync>(names: &[N], work: impl Fn(&N) -> Result<(), Failure> + Sync) -> Result<ExitCode, Failure> {
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
