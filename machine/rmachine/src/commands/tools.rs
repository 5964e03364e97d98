//! `rmachine fleetctl`, `kvctl`, `etcdctl`: the cluster's own clients, pointed to it. The program is
//! the one beside this one, or in hostbox beside it, or the first in PATH; its exit code is ours.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use machine_types::MachineName;

use crate::cluster;
use crate::commands::env::cluster_variables;
use crate::context::Context;
use crate::failure::Failure;

/// Words of these commands.
#[derive(Debug, Args)]
pub(crate) struct Tool {
    /// Cluster to talk to [default: the only one]
    #[arg(long, value_name = "NAME")]
    cluster: Option<MachineName>,
    /// Words for the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    words: Vec<String>,
}

pub(crate) fn run(context: &Context, program: &str, args: &Tool) -> Result<ExitCode, Failure> {
    let name = only_cluster(context, args.cluster.as_ref())?;
    let mut command = find(program)?;
    for (variable, value) in cluster_variables(context, &name, None)? {
        command.env(variable, value);
    }
    if std::env::var_os("FLEETCTL_REQUEST_TIMEOUT").is_none() {
        // Emulated machines take their time.
        command.env("FLEETCTL_REQUEST_TIMEOUT", "15");
    }
    let words = match args.words.split_first() {
        Some((first, rest)) if first == "--" => rest,
        _ => &args.words,
    };
    let error = command.args(words).exec();
    Err(Failure::because(format!("could not start {program}"), &error))
}

/// The cluster that is meant when none is named.
pub(crate) fn only_cluster(context: &Context, name: Option<&MachineName>) -> Result<MachineName, Failure> {
    if let Some(name) = name {
        return Ok(cluster::load(context, name)?.name);
    }
    let mut all = cluster::all(context)?;
    match all.len() {
        1 => Ok(all.remove(0).name),
        0 => Err(Failure::new("there is no cluster")
            .hint("make one with `rmachine create --cluster NAME worker1 worker2 worker3`")),
        _ => {
            let names: Vec<&str> = all.iter().map(|cluster| cluster.name.as_str()).collect();
            Err(Failure::new("there are several clusters: say which with `--cluster NAME`")
                .hint(format!("they are {}", names.join(", "))))
        }
    }
}

fn find(program: &str) -> Result<Command, Failure> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent);
    if let Some(path) = beside.map(|dir| dir.join(program)).filter(|path| path.is_file()) {
        return Ok(Command::new(path));
    }
    if let Some(hostbox) = beside.map(|dir| dir.join("hostbox")).filter(|path| path.is_file()) {
        let mut command = Command::new(hostbox);
        command.arg0(program);
        return Ok(command);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found: Option<PathBuf> =
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file());
    found.map(Command::new).ok_or_else(|| {
        Failure::new(format!("there is no `{program}` on this workstation"))
            .hint(format!("build it with `cargo build --release -p {program}`, or put it into PATH"))
    })
}
