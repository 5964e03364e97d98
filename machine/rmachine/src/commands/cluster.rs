//! `rmachine cluster`: clusters as wholes.

mod join;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use machine_types::MachineName;

use crate::cluster::{self, kv::Kv, kv::eventually};
use crate::context::Context;
use crate::failure::Failure;
use crate::table::align;

/// For units to move away from a machine that leaves.
const MOVE_LIMIT: Duration = Duration::from_secs(15);

/// Words of `cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write down a cluster and make its authority; machines come by
    /// `create --cluster`
    Create(Name),
    /// List clusters
    Ls(Listing),
    /// Print all that is known of a cluster
    Show(Name),
    /// Print the token by which machines join by themselves
    Token(Token),
    /// Make machines members that were made alone; each is restarted once
    Join(Join),
    /// Take a machine off its cluster and let it go on alone
    Leave(Machines),
    /// Remove a cluster whose machines are gone, or with -f its machines too
    Rm(Remove),
}

#[derive(Debug, Args)]
struct Name {
    /// Name of the cluster
    name: MachineName,
}

#[derive(Debug, Args)]
struct Listing {
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
    /// Print as json
    #[arg(long)]
    format: Option<String>,
}

#[derive(Debug, Args)]
struct Token {
    /// Name of the cluster
    name: MachineName,
    /// For machines with a kv, instead of those that only run units
    #[arg(long)]
    manager: bool,
    /// Make a new one; the old one lets nobody in any more
    #[arg(long)]
    rotate: bool,
}

#[derive(Debug, Args)]
struct Join {
    /// Name of the cluster
    name: MachineName,
    /// Names of machines
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<MachineName>,
}

#[derive(Debug, Args)]
struct Machines {
    /// Names of machines
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<MachineName>,
}

#[derive(Debug, Args)]
struct Remove {
    /// Name of the cluster
    name: MachineName,
    /// Remove its machines as well
    #[arg(long, short)]
    force: bool,
}

pub(crate) fn run(context: &Context, args: &ClusterArgs) -> Result<ExitCode, Failure> {
    match &args.verb {
        Verb::Create(args) => create(context, &args.name),
        Verb::Ls(args) => list(context, args),
        Verb::Show(args) => show(context, &args.name),
        Verb::Token(args) => token(context, args),
        Verb::Join(args) => {
            // One after the other: kv takes one that learns at a time.
            args.machines.iter().try_for_each(|machine| join::join(context, &args.name, machine))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Leave(args) => leave_all(context, &args.machines),
        Verb::Rm(args) => remove(context, args),
    }
}

fn create(context: &Context, name: &MachineName) -> Result<ExitCode, Failure> {
    let _lock = cluster::lock(context, name)?;
    if cluster::find(context, name)?.is_some() {
        return Err(Failure::new(format!("cluster `{name}` already exists"))
            .hint(format!("add machines with `rmachine create --cluster {name} …`")));
    }
    cluster::keys::cluster_keys(context, name)?;
    cluster::save(context, &cluster::new(name))?;
    eprintln!("hint: make its machines with `rmachine create --cluster {name} …`");
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, args: &Listing) -> Result<ExitCode, Failure> {
    let clusters = cluster::all(context)?;
    match args.format.as_deref() {
        Some("json") => {
            say!("{}", serde_json::to_string_pretty(&clusters).expect("clusters are plain JSON"));
        }
        Some(other) => {
            return Err(Failure::new(format!("`{other}` is no format of this list")).hint("use json"));
        }
        None if args.quiet => clusters.iter().for_each(|cluster| say!("{}", cluster.name)),
        None => {
            let mut lines = vec![["NAME", "MACHINES", "NETWORK", "DISCOVERY"].map(str::to_owned).to_vec()];
            lines.extend(clusters.iter().map(|cluster| {
                let discovery = if cluster.discovery.is_empty() { "-" } else { &cluster.discovery };
                vec![
                    cluster.name.to_string(),
                    cluster.members.len().to_string(),
                    format!("{}/24", cluster.network),
                    discovery.to_owned(),
                ]
            }));
            put!("{}", align(&lines));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(context: &Context, name: &MachineName) -> Result<ExitCode, Failure> {
    let cluster = cluster::load(context, name)?;
    say!("{}", serde_json::to_string_pretty(&cluster).expect("a cluster is plain JSON"));
    Ok(ExitCode::SUCCESS)
}

fn remove(context: &Context, args: &Remove) -> Result<ExitCode, Failure> {
    let name = &args.name;
    let machines: Vec<MachineName> =
        cluster::machines(context, name)?.into_iter().map(|machine| machine.record.name).collect();
    let dir = context.store.cluster(name);
    if !dir.exists() && machines.is_empty() {
        cluster::load(context, name)?;
    }
    if !machines.is_empty() {
        if !args.force {
            let names: Vec<&str> = machines.iter().map(MachineName::as_str).collect();
            return Err(Failure::new(format!("cluster `{name}` still has machines: {}", names.join(", ")))
                .hint(format!("remove them first, or all with `rmachine cluster rm -f {name}`")));
        }
        let words: Vec<String> = machines.iter().map(ToString::to_string).collect();
        crate::commands::rm::remove(context, &words, true)?;
    }
    let _lock = cluster::lock(context, name)?;
    std::fs::remove_dir_all(&dir)
        .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .map_err(|error| Failure::because(format!("could not remove {}", dir.display()), &error))?;
    Ok(ExitCode::SUCCESS)
}

/// The fleet keeps the tokens; whoever holds the cluster's keys may see them.
fn token(context: &Context, args: &Token) -> Result<ExitCode, Failure> {
    cluster::load(context, &args.name)?;
    let kv = Kv::of(context, &args.name)?;
    let role = if args.manager { "manager" } else { "worker" };
    let answer = if args.rotate {
        kv.tell_fleet(&format!("/fleet/v1/join/tokens/{role}/rotate"))?
    } else {
        kv.fleet("/fleet/v1/join/tokens")?
    };
    let token = answer[role].as_str().ok_or_else(|| Failure::new("the fleet gave no token"))?;
    say!("{token}");
    Ok(ExitCode::SUCCESS)
}

fn leave_all(context: &Context, machines: &[MachineName]) -> Result<ExitCode, Failure> {
    for name in machines {
        let mut machine = crate::machine::Machine::load(context, name)?;
        let Some(cluster) = machine.record.host_options.cluster.clone() else {
            return Err(Failure::new(format!("machine `{name}` is in no cluster")));
        };
        if let Err(failure) = drain(context, &cluster, name) {
            eprintln!("warning: the units of `{name}` stop without moving first: {}", failure.message);
        }
        leave(context, &cluster, name)?;
        // It was revoked: should the machine join again, it needs another.
        for file in cluster::keys::MEMBER {
            let path = machine.place.dir.join(file);
            std::fs::remove_file(&path)
                .or_else(
                    |error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) },
                )
                .map_err(|error| Failure::because(format!("could not remove {}", path.display()), &error))?;
        }
        alone(&mut machine.record);
        context.store.save(&machine.record)?;
        let stop = "systemctl disable --now fleet.service kv.service && rm -rf /var/lib/fleet/tls";
        if let Err(failure) = crate::commands::ssh::run_as_root(&machine, stop) {
            eprintln!("warning: the daemons of `{name}` still run: {}", failure.message);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until a machine's units have moved to others, if there are any.
fn drain(context: &Context, cluster: &MachineName, name: &MachineName) -> Result<(), Failure> {
    let kept = cluster::load(context, cluster)?;
    let id = kept.members.get(name).and_then(|member| member.machine);
    let (Some(id), true) = (id, kept.others(name).next().is_some()) else { return Ok(()) };
    let kv = Kv::of(context, cluster)?;
    kv.drain_machine(id)?;
    eventually(context, MOVE_LIMIT, || {
        let units = kv.fleet("/fleet/v1/units")?;
        let here = id.simple().to_string();
        let left = units["units"].as_array().into_iter().flatten().filter(|unit| unit["machineID"] == *here);
        let names: Vec<&str> = left.filter_map(|unit| unit["name"].as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("{} cannot move within {} s", names.join(", "), MOVE_LIMIT.as_secs())))
    })
}

/// From its next start on, a machine needs no switch.
fn alone(record: &mut machine_types::Record) {
    record.host_options.cluster = None;
    record.driver["Network"] = serde_json::json!("user");
    record.driver["NetworkSwitch"] = serde_json::json!("");
    let ports = [machine_driver_qemu::KV_PORT, machine_driver_qemu::FLEET_PORT];
    if let Some(forwards) = record.driver["Forwards"].as_array_mut() {
        forwards.retain(|forward| !ports.iter().any(|port| forward["GuestPort"] == *port));
    }
}

/// Removes a machine from its cluster's kv and from what is kept of it.
pub(crate) fn leave(context: &Context, cluster: &MachineName, name: &MachineName) -> Result<(), Failure> {
    let _lock = cluster::lock(context, cluster)?;
    let Some(mut kept) = cluster::find(context, cluster)? else { return Ok(()) };
    let Some(member) = kept.members.get(name).cloned() else { return Ok(()) };
    if kept.others(name).next().is_some() && member.complete {
        let kv = Kv::of(context, cluster)?;
        let url = format!("https://{}:2380", member.address);
        let gone = kv.members()?.into_iter().find(|found| found.peer_urls.contains(&url));
        if let Some(gone) = gone {
            kv.remove(gone.id)?;
        }
        // Last, for from then on the others do not talk to it.
        if let Some(id) = member.machine {
            kv.remove_machine(id)?;
        }
    }
    kept.members.remove(name);
    cluster::save(context, &kept)
}

/// Takes these machines off their clusters before they are removed. Where all of a cluster's
/// machines go there is nobody to tell.
pub(crate) fn before_removal(context: &Context, names: &[MachineName]) {
    for cluster in cluster::all(context).unwrap_or_default() {
        let going: Vec<&MachineName> = cluster.members.keys().filter(|name| names.contains(name)).collect();
        let all_go = cluster.members.iter().all(|(name, member)| names.contains(name) || !member.complete);
        for name in going {
            let left = if all_go {
                forget(context, &cluster.name, name)
            } else {
                leave(context, &cluster.name, name)
            };
            if let Err(failure) = left {
                eprintln!(
                    "warning: `{name}` is still a kv member of cluster `{}`: {}",
                    cluster.name, failure.message
                );
            }
        }
    }
}

fn forget(context: &Context, cluster: &MachineName, name: &MachineName) -> Result<(), Failure> {
    let _lock = cluster::lock(context, cluster)?;
    let Some(mut kept) = cluster::find(context, cluster)? else { return Ok(()) };
    kept.members.remove(name);
    cluster::save(context, &kept)
}
