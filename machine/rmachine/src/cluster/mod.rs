//! What the store keeps of a cluster, and how to ask its members. Which machine gets what is decided
//! by `machine_core::cluster`.

pub(crate) mod keys;
pub(crate) mod kv;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use machine_core::cluster::{CLUSTER_VERSION, Cluster};
use machine_store::Lock;
use machine_types::MachineName;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::context::Context;
use crate::failure::Failure;
use crate::machine::Machine;

const FILE: &str = "cluster.json";
/// Addresses that the switch must give.
pub(crate) const RESERVED: &str = "reserved";
/// Its presence tells the switch that firmware is answered by somebody else.
pub(crate) const PXE: &str = "pxe.address";
/// The part of a machine's Ignition config that makes it a member, in its folder.
pub(crate) const MEMBER_CONFIG: &str = "cluster.ign";
/// Joining machines wait for each other.
const LOCK_LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn lock(context: &Context, name: &MachineName) -> Result<Lock, Failure> {
    Ok(context.store.lock_cluster(name, LOCK_LIMIT)?)
}

/// The cluster of this name, if there is one.
pub(crate) fn find(context: &Context, name: &MachineName) -> Result<Option<Cluster>, Failure> {
    let path = file(context, name);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = machine_store::read(&path)?;
    let cluster: Cluster = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::because(format!("{} is damaged", path.display()), &error)
            .hint(format!("remove the cluster with `rmachine cluster rm -f {name}`"))
    })?;
    if cluster.version > CLUSTER_VERSION {
        return Err(Failure::new(format!("cluster `{name}` was made by a newer rmachine"))
            .hint("use that version, or a newer one"));
    }
    Ok(Some(cluster))
}

/// The cluster of this name, or a failure that says so.
pub(crate) fn load(context: &Context, name: &MachineName) -> Result<Cluster, Failure> {
    find(context, name)?.ok_or_else(|| {
        Failure::new(format!("there is no cluster `{name}`"))
            .hint("see `rmachine cluster ls`, or make one with `rmachine create --cluster NAME …`")
    })
}

/// A new cluster, not saved yet.
pub(crate) fn new(name: &MachineName) -> Cluster {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).expect("the present has a date");
    Cluster::new(name.clone(), now, Uuid::new_v4().simple().to_string(), default_network(name))
}

/// Writes what is kept. The caller holds the lock.
pub(crate) fn save(context: &Context, cluster: &Cluster) -> Result<(), Failure> {
    let dir = context.store.cluster(&cluster.name);
    context.store.make_dir(&dir)?;
    let mut text = serde_json::to_vec_pretty(cluster).expect("a cluster is plain JSON");
    text.push(b'\n');
    machine_store::write_atomic(&dir.join(RESERVED), reserved(cluster).as_bytes(), 0o600)?;
    Ok(machine_store::write_atomic(&file(context, &cluster.name), &text, 0o600)?)
}

/// All clusters, by name.
pub(crate) fn all(context: &Context) -> Result<Vec<Cluster>, Failure> {
    let Ok(entries) = std::fs::read_dir(context.store.root().join("clusters")) else { return Ok(Vec::new()) };
    let mut names: Vec<MachineName> =
        entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect();
    names.sort();
    names.iter().filter_map(|name| find(context, name).transpose()).collect()
}

/// Its machines that are in the store.
pub(crate) fn machines(context: &Context, name: &MachineName) -> Result<Vec<Machine>, Failure> {
    let mut machines = Vec::new();
    for machine in context.store.names()? {
        // One that cannot be loaded is told of by `ls`.
        let Ok(machine) = Machine::load(context, &machine) else { continue };
        if machine.record.host_options.cluster.as_ref() == Some(name) {
            machines.push(machine);
        }
    }
    Ok(machines)
}

/// Where a port of a machine is reached from here.
pub(crate) fn endpoint(machine: &Machine, port: u16) -> Option<String> {
    let forwards = machine.driver.forwards();
    if forwards.is_empty() {
        return machine.driver.address().map(|address| format!("{address}:{port}"));
    }
    let found = forwards.iter().find(|forward| forward.guest_port == port && forward.host_port != 0)?;
    Some(format!("{}:{}", found.host_address, found.host_port))
}

/// Each cluster has its own wire, so equal networks do no harm; different ones are easier to read.
pub(crate) fn default_network(name: &MachineName) -> Ipv4Addr {
    let hash = name.as_str().bytes().fold(7_u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte));
    Ipv4Addr::new(10, 66, hash, 0)
}

/// As the switch reads it.
fn reserved(cluster: &Cluster) -> String {
    let line = |member: &machine_core::cluster::Member| {
        let mac = match &member.mac {
            Some(mac) => mac.clone(),
            None => machine_driver_qemu::mac(member.machine?, 1),
        };
        Some(format!("{mac} {}\n", member.address.octets()[3]))
    };
    cluster.members.values().filter_map(line).collect()
}

fn file(context: &Context, name: &MachineName) -> PathBuf {
    context.store.cluster(name).join(FILE)
}
