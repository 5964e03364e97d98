//! The part of `create` that makes machines members of a cluster.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use fleet_join::MemberRole;
use kv_discovery::Source;
use machine_core::cluster::{Authority, Bootstrap, Cluster, Entry, Part, Proof, config};
use machine_core::driver::Observer;
use machine_driver_qemu::Network;
use machine_store::Lock;
use machine_types::MachineName;

use super::flags::Create;
use crate::cluster::kv::{Kv, eventually};
use crate::cluster::{self, MEMBER_CONFIG, keys};
use crate::context::Context;
use crate::discovery;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::progress::Printer;

/// Under TCG a machine stands still for longer than an etcd's 100 ms now and then. Ten of these are an
/// election, and that is part of how soon a lost machine's units run elsewhere.
const HEARTBEAT_MS: u32 = 150;
/// From a machine's engine to its vote.
const ARRIVE: Duration = Duration::from_secs(180);

/// What was decided for the machines of one `create`.
pub(crate) struct Plan {
    name: MachineName,
    entries: BTreeMap<MachineName, Entry>,
    /// Addresses of founders that a list names.
    listed: Vec<Ipv4Addr>,
    /// The service that founders register at, as they reach it.
    service: Option<String>,
    /// Others must not take these machines for abandoned while they have no record yet.
    _announced: Vec<Lock>,
}

impl Plan {
    /// For a machine that comes by itself.
    pub(crate) fn of_one(cluster: &MachineName, machine: &MachineName, entry: Entry) -> Self {
        let entries = BTreeMap::from([(machine.clone(), entry)]);
        Self { name: cluster.clone(), entries, listed: Vec::new(), service: None, _announced: Vec::new() }
    }
}

/// Decides who founds and who joins, and writes it down. Nothing for machines without a kv of ours.
pub(crate) fn plan(context: &Context, args: &Create, names: &[MachineName]) -> Result<Option<Plan>, Failure> {
    let Some(name) = args.cluster_name() else { return Ok(None) };
    if args.driver != machine_driver_qemu::NAME || args.qemu.network(Some(&name))? != Network::Cluster {
        return Ok(None);
    }
    if let Some(url) = args.swarm_discovery() {
        discovery::check(context, url)?;
    }
    let _lock = cluster::lock(context, &name)?;
    let mut cluster = cluster::find(context, &name)?.unwrap_or_else(|| cluster::new(&name));
    forget_the_unborn(context, &mut cluster, names);
    let founded = cluster.is_founded();
    let (mut listed, mut service) = (Vec::new(), None);
    if let Some(url) = args.discovery().filter(|_| !founded) {
        match discovery::source(context, url)? {
            Source::Token { service: at, id } => {
                service = Some(discovery::prepare(&at, &id, names.len())?);
            }
            Source::Nodes(entries) => listed = discovery::addresses(&entries)?,
            file @ Source::File(_) => listed = discovery::addresses(&discovery::entries(&file)?)?,
            Source::Etcd { .. } => {
                return Err(Failure::new("a cluster cannot be founded through etcd:// yet")
                    .hint("use token://, file:/// or nodes://")
                    .code(3));
            }
        }
        url.clone_into(&mut cluster.discovery);
        if let Some(first) = listed.first() {
            let [a, b, c, _] = first.octets();
            cluster.network = Ipv4Addr::new(a, b, c, 0);
        }
    }
    let mut entries = BTreeMap::new();
    let mut announced = Vec::new();
    for machine in names {
        announced.extend(context.store.announce(machine)?);
        let entry = cluster
            .admit(machine, &listed)
            .map_err(|error| Failure::because("no machine was made", &error).code(3))?;
        entries.insert(machine.clone(), entry);
    }
    keys::cluster_keys(context, &name)?;
    cluster::save(context, &cluster)?;
    Ok(Some(Plan { name, entries, listed, service, _announced: announced }))
}

/// Founders whose create failed and that nobody makes now: the cluster must not wait for them.
fn forget_the_unborn(context: &Context, cluster: &mut Cluster, names: &[MachineName]) {
    if !cluster.is_founded() {
        cluster.members.retain(|name, _| {
            names.contains(name) || context.store.exists(name) || context.store.is_announced(name)
        });
    }
}

/// Makes a machine known to the others, and writes down what it will be told.
pub(crate) fn bring(
    context: &Context,
    plan: &Plan,
    machine: &Machine,
    printer: &Printer,
) -> Result<(), Failure> {
    let name = &machine.record.name;
    let entry = plan.entries[name];
    let (address, former) = {
        let _lock = cluster::lock(context, &plan.name)?;
        let mut cluster = cluster::load(context, &plan.name)?;
        let member = cluster.members.get_mut(name).ok_or_else(|| vanished(name, &plan.name))?;
        let former = member.machine.replace(machine.record.id).filter(|id| *id != machine.record.id);
        let address = member.address;
        cluster::save(context, &cluster)?;
        (address, former)
    };
    if entry != Entry::Found {
        printer.step(&format!("joining cluster {}", plan.name));
        make_known(context, &plan.name, name, address)?;
        // What was on the disk of its old self opens nothing any more.
        if let Some(former) = former {
            Kv::of(context, &plan.name)?.remove_machine(former)?;
        }
    }
    let _lock = cluster::lock(context, &plan.name)?;
    let cluster = cluster::load(context, &plan.name)?;
    let others: Vec<(String, Ipv4Addr)> =
        cluster.others(name).map(|(name, member)| (name.to_string(), member.address)).collect();
    let bootstrap = match (entry, &plan.service) {
        (Entry::Found, Some(url)) => Bootstrap::Discovery(url.clone()),
        (Entry::Found, None) => Bootstrap::Founders(cluster.founders(&plan.listed)),
        _ => Bootstrap::Existing(others),
    };
    let (ca, _) = keys::cluster_keys(context, &plan.name)?;
    let names = keys::member_names(machine, address);
    let holder = (machine.record.id, MemberRole::Manager);
    let pair = keys::member_pair(&machine.place.dir, &ca, holder, &names)?;
    let addresses: Vec<Ipv4Addr> = cluster
        .members
        .iter()
        .filter(|(other, member)| *other != name && !member.worker)
        .map(|(_, member)| member.address)
        .collect();
    let part = config(&Part {
        name,
        address,
        bootstrap: Some(&bootstrap),
        token: &cluster.token,
        heartbeat_ms: HEARTBEAT_MS,
        metadata: &machine.record.host_options.engine_options.labels,
        others: &addresses,
        ca: &ca.cert,
        proof: Proof::Made { cert: &pair.cert, key: &pair.key },
        authority: Some(Authority { key: &ca.key, revoked: &keys::no_revocations(&ca)? }),
    });
    let path = machine.place.dir.join(MEMBER_CONFIG);
    Ok(machine_store::write_unsynced(&path, part.to_string().as_bytes(), 0o600)?)
}

/// Removes what the members know of an earlier self, and tells them of this one. One learner at a
/// time is etcd's rule, so this waits for others that are on their way.
fn make_known(
    context: &Context,
    cluster: &MachineName,
    name: &MachineName,
    address: Ipv4Addr,
) -> Result<(), Failure> {
    let url = format!("https://{address}:2380");
    eventually(context, ARRIVE, || {
        let kv = Kv::of(context, cluster)?;
        for member in kv.members()? {
            let is_here = member.peer_urls.contains(&url);
            if is_here && member.name.is_empty() && member.is_learner {
                // The answer to an earlier try was lost; nobody has been this member yet.
                return Ok(member.id);
            }
            if is_here || member.name == name.as_str() {
                kv.remove(member.id)?;
            }
        }
        kv.add_learner(&url)
    })
    .map(drop)
    .map_err(|failure| failure.within(&format!("cluster `{cluster}` does not take in `{name}`")))
}

/// Waits until a machine's kv serves and votes.
pub(crate) fn arrive(
    context: &Context,
    swarm: Option<&str>,
    plan: &Plan,
    machine: &Machine,
    printer: &Printer,
) -> Result<(), Failure> {
    let name = &machine.record.name;
    let late = |failure: Failure| {
        let hint = format!(
            "look at `rmachine ssh {name} journalctl -u kv.service`; all founders of a cluster must be made"
        );
        Failure::new(format!("the kv of `{name}` does not serve: {}", failure.message)).hint(hint)
    };
    let status = eventually(context, ARRIVE, || {
        let status = Kv::of(context, &plan.name)?.status(name)?;
        if status.leader == 0 { Err(Failure::new("it knows no leader")) } else { Ok(status) }
    })
    .map_err(late)?;
    if plan.entries[name] != Entry::Found {
        promote(context, &plan.name, status.id).map_err(late)?;
        printer.step("voting in the cluster's kv");
    }
    let _lock = cluster::lock(context, &plan.name)?;
    let mut cluster = cluster::load(context, &plan.name)?;
    let member = cluster.members.get_mut(name).ok_or_else(|| vanished(name, &plan.name))?;
    member.complete = true;
    let engine = format!("{}:{}", member.address, machine_driver_qemu::ENGINE_PORT);
    cluster::save(context, &cluster)?;
    match swarm {
        Some(url) => discovery::register(context, url, &engine),
        None => Ok(()),
    }
}

/// Lets a learner vote as soon as it has learned enough.
pub(crate) fn promote(context: &Context, cluster: &MachineName, id: u64) -> Result<(), Failure> {
    eventually(context, ARRIVE, || {
        let kv = Kv::of(context, cluster)?;
        if kv.members()?.iter().any(|member| member.id == id && !member.is_learner) {
            return Ok(());
        }
        kv.promote(id)
    })
}

/// Waits until the whole cluster is as it should be, and says so.
pub(crate) fn settle(context: &Context, plan: &Plan) -> Result<(), Failure> {
    let printer = Printer::new(&plan.name);
    let wanted = cluster::load(context, &plan.name)?.members.values().filter(|m| m.complete).count();
    let seen = eventually(context, ARRIVE, || {
        let machines = Kv::of(context, &plan.name)?.fleet("/fleet/v1/machines")?;
        let seen = machines["machines"].as_array().map_or(0, Vec::len);
        let missing = || Failure::new(format!("fleet sees {seen} of {wanted} machines"));
        if seen < wanted { Err(missing()) } else { Ok(seen) }
    })?;
    let members = Kv::of(context, &plan.name)?.members()?;
    let voting = members.iter().filter(|member| !member.is_learner).count();
    printer.notice(machine_core::driver::Event::Step(format!(
        "{voting} kv members, {seen} machines in the fleet"
    )));
    eprintln!("hint: look at the cluster with `rmachine status --cluster {}`", plan.name);
    Ok(())
}

fn vanished(name: &MachineName, cluster: &MachineName) -> Failure {
    Failure::new(format!("machine `{name}` was removed from cluster `{cluster}` meanwhile"))
}
