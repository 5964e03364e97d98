//! Flags of the ssh server.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Serve ssh to those whose keys are on this machine
#[derive(Clone, Debug, Parser)]
#[command(name = "sshd", version)]
pub(crate) struct Options {
    /// Address to listen on; may be given more than once
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:22")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Host key; made if there is none
    #[arg(long, value_name = "FILE", default_value = "/etc/ssh/ssh_host_ed25519_key")]
    pub(crate) host_key: PathBuf,
    /// Directory that holds passwd and group
    #[arg(long, value_name = "DIR", default_value = "/etc")]
    pub(crate) accounts: PathBuf,
    /// Program that serves sftp
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/sftp-server")]
    pub(crate) sftp_server: PathBuf,
}

/// The definition of the command line.
#[must_use]
pub fn command() -> clap::Command {
    <Options as clap::CommandFactory>::command()
}

pub(crate) fn parse(args: Vec<OsString>) -> Result<Options, clap::Error> {
    Options::try_parse_from(args)
}
