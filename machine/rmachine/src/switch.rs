//! The Ethernet of a cluster: a process of this program's own, detached, that lives as long as
//! machines are connected to it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use machine_switch::{Network, Options, ServeError};
use machine_types::MachineName;

use crate::context::Context;
use crate::failure::{Failure, chain};

const SOCKET: &str = "switch.sock";
const LEASES: &str = "leases";
const LOG: &str = "switch.log";
/// Time for a restarting machine to come back before the switch ends.
const IDLE: Duration = Duration::from_secs(60);
const START_LIMIT: Duration = Duration::from_secs(10);

/// Words of the hidden command that is the switch.
#[derive(Debug, Args)]
pub(crate) struct Switch {
    /// Name of the cluster
    cluster: MachineName,
}

/// Socket of a cluster's switch, relative to the store.
pub(crate) fn socket(cluster: &MachineName) -> String {
    format!("clusters/{cluster}/{SOCKET}")
}

/// Sees to it that the switch of a cluster runs.
pub(crate) fn ensure(context: &Context, cluster: &MachineName) -> Result<(), Failure> {
    let dir = dir(context, cluster);
    context.store.make_dir(&dir)?;
    let failed = |error: std::io::Error| {
        Failure::because(format!("could not start the switch of cluster `{cluster}`"), &error)
    };
    let start = Instant::now();
    let mut child = None;
    while !listens(&dir) {
        context.cancel().check()?;
        if start.elapsed() >= START_LIMIT {
            let log = std::fs::read_to_string(dir.join(LOG)).unwrap_or_default();
            return Err(Failure::new(format!(
                "the switch of cluster `{cluster}` did not start within {} s: {}",
                START_LIMIT.as_secs(),
                log.trim()
            )));
        }
        if child.is_none() {
            let mut options = File::options();
            let log = options.create(true).append(true).mode(0o600).open(dir.join(LOG)).map_err(failed)?;
            let program = std::env::current_exe().map_err(failed)?;
            let mut command = Command::new(program);
            command.arg("-s").arg(context.store.root()).args(["network-switch", cluster.as_str()]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            child = Some(command.spawn().map_err(failed)?);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether the switch of a cluster runs. A QEMU that lost it does not connect to its successor.
pub(crate) fn is_there(context: &Context, cluster: &MachineName) -> bool {
    listens(&dir(context, cluster))
}

/// Is the switch, until nobody needs it any more.
pub(crate) fn run(context: &Context, args: &Switch) -> Result<ExitCode, Failure> {
    // Away from the terminal: its Ctrl-C is not meant for us. A leader of a group cannot do this, but
    // then somebody started us by hand.
    let _ = nix::unistd::setsid();
    let dir = dir(context, &args.cluster);
    let base = match crate::cluster::find(context, &args.cluster)? {
        Some(cluster) => cluster.network,
        None => crate::cluster::default_network(&args.cluster),
    };
    // Relative names: a socket's path may be longer than the kernel takes, and the store may move.
    std::env::set_current_dir(&dir)
        .map_err(|error| Failure::because(format!("could not enter {}", dir.display()), &error))?;
    let options = Options {
        socket: PathBuf::from(SOCKET),
        leases: PathBuf::from(LEASES),
        firmware: PathBuf::from(crate::cluster::PXE),
        reserved: PathBuf::from(crate::cluster::RESERVED),
        network: Network { base },
        idle: IDLE,
    };
    match crate::commands::ssh::runtime()?.block_on(machine_switch::serve(options)) {
        Ok(()) | Err(ServeError::Taken(_)) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::new(chain(&error))),
    }
}

fn dir(context: &Context, cluster: &MachineName) -> PathBuf {
    context.store.root().join("clusters").join(cluster.as_str())
}

fn listens(dir: &Path) -> bool {
    dial(dir).is_ok()
}

/// Whatever the length of the store's name, the kernel takes this one.
fn dial(dir: &Path) -> std::io::Result<UnixStream> {
    let dir = File::open(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

/// A port of a cluster's switch, which is started if it does not run.
pub(crate) fn connect(context: &Context, cluster: &MachineName) -> Result<UnixStream, Failure> {
    ensure(context, cluster)?;
    dial(&dir(context, cluster))
        .map_err(|error| Failure::because(format!("the switch of cluster `{cluster}` is gone"), &error))
}
