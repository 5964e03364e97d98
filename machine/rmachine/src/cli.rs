//! The command line: docker-machine's words, then ours.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Make machines that run containers, and keep them
#[derive(Debug, Parser)]
#[command(name = "rmachine", version, arg_required_else_help = true, subcommand_required = true)]
#[command(max_term_width = 80, disable_help_subcommand = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that stand before the command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Log what happens, to stderr
    #[arg(long, short = 'D', env = "MACHINE_DEBUG")]
    pub(crate) debug: bool,
    /// Where machines are kept [default: ~/.rmachine]
    ///
    /// RMACHINE_STORAGE_PATH and MACHINE_STORAGE_PATH say the same.
    #[arg(long, short = 's', value_name = "DIR")]
    pub(crate) storage_path: Option<PathBuf>,
    /// Certificate of the authority
    #[arg(long, env = "MACHINE_TLS_CA_CERT", value_name = "FILE", hide_env_values = true)]
    pub(crate) tls_ca_cert: Option<PathBuf>,
    /// Key of the authority
    #[arg(long, env = "MACHINE_TLS_CA_KEY", value_name = "FILE", hide_env_values = true)]
    pub(crate) tls_ca_key: Option<PathBuf>,
    /// Certificate of the client
    #[arg(long, env = "MACHINE_TLS_CLIENT_CERT", value_name = "FILE", hide_env_values = true)]
    pub(crate) tls_client_cert: Option<PathBuf>,
    /// Key of the client
    #[arg(long, env = "MACHINE_TLS_CLIENT_KEY", value_name = "FILE", hide_env_values = true)]
    pub(crate) tls_client_key: Option<PathBuf>,
    /// Taken for docker-machine's sake: ssh is always built in
    #[arg(long, env = "MACHINE_NATIVE_SSH", hide = true)]
    pub(crate) native_ssh: bool,
    /// Taken for docker-machine's sake: no image comes from GitHub
    #[arg(long, env = "MACHINE_GITHUB_API_TOKEN", hide = true, hide_env_values = true)]
    pub(crate) github_api_token: Option<String>,
    /// Taken for docker-machine's sake: nothing is ever reported home
    #[arg(long, env = "MACHINE_BUGSNAG_API_TOKEN", hide = true, hide_env_values = true)]
    pub(crate) bugsnag_api_token: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the machine that the docker client talks to now
    Active(commands::active::Active),
    /// Print a script that completes the words of this program in a shell
    Completion(commands::completion::Completion),
    /// Print the flags that point a docker client to a machine
    Config(commands::config::Config),
    /// Make machines
    Create(Box<commands::create::Create>),
    /// Print the shell commands that point docker clients to a machine
    Env(commands::env::Env),
    /// Keep the images that machines boot
    Image(commands::image::ImageArgs),
    /// Print all that is known of a machine
    Inspect(commands::inspect::Inspect),
    /// Print the addresses of machines
    Ip(commands::show::Many),
    /// Turn machines off as by pulling the plug
    Kill(commands::show::Many),
    /// Print what a machine said since its last start
    Logs(commands::logs::Logs),
    /// List machines
    Ls(commands::ls::Ls),
    /// Refused: machines cannot mount folders of each other yet
    #[command(hide = true)]
    Mount(commands::Ignored),
    /// Be the switch of a cluster
    #[command(hide = true)]
    NetworkSwitch(crate::switch::Switch),
    /// Open, list and close ports of a machine on this workstation
    Port(commands::port::Port),
    /// Bring keys and settings into machines again
    Provision(commands::show::Many),
    /// Make new certificates for machines
    RegenerateCerts(commands::certs::Regenerate),
    /// Restart machines
    Restart(commands::power::Power),
    /// Remove machines
    Rm(commands::rm::Rm),
    /// Copy files from and to machines
    Scp(commands::scp::Scp),
    /// Log in to a machine, or run a command on it
    Ssh(commands::ssh::Ssh),
    /// Turn machines on
    Start(commands::power::Power),
    /// Print the state of a machine
    Status(commands::show::One),
    /// Turn machines off in an orderly way
    Stop(commands::show::Many),
    /// Change machines to another image, and back if it does not work
    Upgrade(commands::upgrade::Upgrade),
    /// Print the URL of a machine's engine
    Url(commands::show::One),
    /// Print the version of rmachine, or of a machine's engine
    Version(commands::show::Optional),
}
