//! The command line: docker-machine's words, then ours.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands;

/// Create and manage machines running Docker, from nothing to gone
#[derive(Debug, Parser)]
#[command(name = "rmachine", version = concat!("version ", env!("CARGO_PKG_VERSION")))]
#[command(arg_required_else_help = true, subcommand_required = true)]
#[command(max_term_width = 80, disable_help_subcommand = false, disable_version_flag = true)]
// As docker-machine takes it: the last of two equal flags counts.
#[command(args_override_self = true)]
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
    #[arg(long, short = 'D', env = "MACHINE_DEBUG", value_parser = go_bool)]
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
    #[arg(long, env = "MACHINE_NATIVE_SSH", hide = true, value_parser = go_bool)]
    pub(crate) native_ssh: bool,
    /// Taken for docker-machine's sake: no image comes from GitHub
    #[arg(long, env = "MACHINE_GITHUB_API_TOKEN", hide = true, hide_env_values = true)]
    pub(crate) github_api_token: Option<String>,
    /// Taken for docker-machine's sake: nothing is ever reported home
    #[arg(long, env = "MACHINE_BUGSNAG_API_TOKEN", hide = true, hide_env_values = true)]
    pub(crate) bugsnag_api_token: Option<String>,
    /// Print version
    #[arg(long, short = 'v', short_alias = 'V', action = ArgAction::Version)]
    pub(crate) version: Option<bool>,
}

/// What docker-machine takes for yes and no in the environment; empty counts as not set.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("use true or false".into()),
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the machine that the docker client talks to now
    Active(commands::active::Active),
    /// Keep clusters: machines with one network, one kv and one fleet
    Cluster(commands::cluster::ClusterArgs),
    /// Print a script that completes the words of this program in a shell
    Completion(commands::completion::Completion),
    /// Print the flags that point a docker client to a machine
    Config(commands::config::Config),
    /// Make machines
    Create(Box<commands::create::Create>),
    /// Make, serve and list the places where machines find each other
    Discovery(commands::discovery::Discovery),
    /// Run etcdctl on a cluster
    Etcdctl(commands::tools::Tool),
    /// Print the shell commands that point docker clients to a machine
    Env(commands::env::Env),
    /// Run fleetctl on a cluster
    Fleetctl(commands::tools::Tool),
    /// Keep the images that machines boot
    Image(commands::image::ImageArgs),
    /// Print all that is known of a machine
    Inspect(commands::inspect::Inspect),
    /// Print the addresses of machines
    Ip(commands::show::Many),
    /// Turn machines off as by pulling the plug
    Kill(commands::show::Many),
    /// Run kvctl on a cluster
    Kvctl(commands::tools::Tool),
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
    /// Boot bare machines from the network into a cluster
    Pxe(commands::pxe::Pxe),
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
    /// Print the state of a machine, or with --cluster of a whole cluster
    Status(commands::status::Status),
    /// Turn machines off in an orderly way
    Stop(commands::show::Many),
    /// Change machines to another image, and back if it does not work
    Upgrade(commands::upgrade::Upgrade),
    /// Print the URL of a machine's engine
    Url(commands::show::One),
    /// Print the version of rmachine, or of a machine's engine
    Version(commands::show::Optional),
}
