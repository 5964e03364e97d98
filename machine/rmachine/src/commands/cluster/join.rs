//! `rmachine cluster join`: a machine that was made alone becomes a member. It is restarted once, for
//! its second network card, and told over ssh what others find in their Ignition config.

use machine_core::cluster::Entry;
use machine_ssh::{CopyError, Session};
use machine_types::{MachineName, State};
use serde_json::{Value, json};

use crate::cluster::kv::Kv;
use crate::cluster::{self, MEMBER_CONFIG};
use crate::commands::create::cluster::{Plan, arrive, bring};
use crate::commands::power::{bring_up, locked};
use crate::commands::ssh::{run_as_root, runtime, ssh_failure, target};
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::{Machine, READY_LIMIT};
use crate::progress::Printer;
use crate::switch;

/// Makes one machine a member of a cluster.
pub(super) fn join(context: &Context, cluster: &MachineName, name: &MachineName) -> Result<(), Failure> {
    let (machine, _lock) = locked(context, name)?;
    let record = &machine.record;
    if record.driver_name != machine_driver_qemu::NAME {
        return Err(Failure::new(format!("machine `{name}` has the driver `{}`", record.driver_name))
            .hint("only machines of the driver qemu can join later"));
    }
    if let Some(other) = record.host_options.cluster.as_ref().filter(|other| *other != cluster) {
        return Err(Failure::new(format!("machine `{name}` is in cluster `{other}`"))
            .hint(format!("take it off with `rmachine cluster leave {name}` first")));
    }
    let entry = {
        let _lock = cluster::lock(context, cluster)?;
        let mut kept = cluster::load(context, cluster)?;
        // Joining begins with an empty kv: one that serves must not lose its own.
        if kept.members.get(name).is_some_and(|member| member.complete) {
            return Err(Failure::new(format!("machine `{name}` is a member of cluster `{cluster}` already")));
        }
        let entry = kept
            .admit(name, &[])
            .map_err(|error| Failure::because(format!("`{name}` does not join"), &error))?;
        cluster::keys::cluster_keys(context, cluster)?;
        cluster::save(context, &kept)?;
        entry
    };
    let printer = Printer::new(name);
    let mut machine = connect(context, machine, cluster)?;
    let plan = Plan::of_one(cluster, name, entry);
    bring(context, &plan, &machine, &printer)?;
    if entry != Entry::Found {
        // It may have been in this cluster before.
        Kv::of(context, cluster)?.forgive_machine(machine.record.id)?;
    }
    if machine.state(READY_LIMIT)? != State::Stopped {
        printer.step("restarting, for its second network card");
        machine.drive(context, &printer, READY_LIMIT, |driver, session| driver.stop(session))?;
    }
    bring_up(context, &mut machine, &printer, READY_LIMIT)?;
    tell(&machine)?;
    if entry == Entry::Found {
        printer.step("founds the cluster");
    }
    arrive(context, None, &plan, &machine, &printer)
}

/// Puts it on the cluster's switch from its next start on.
fn connect(context: &Context, machine: Machine, cluster: &MachineName) -> Result<Machine, Failure> {
    let mut record = machine.record;
    record.host_options.cluster = Some(cluster.clone());
    record.driver["Network"] = json!("cluster");
    record.driver["NetworkSwitch"] = json!(switch::socket(cluster));
    if let Some(forwards) = record.driver["Forwards"].as_array_mut() {
        for port in [machine_driver_qemu::KV_PORT, machine_driver_qemu::FLEET_PORT] {
            if !forwards.iter().any(|forward| forward["GuestPort"] == port) {
                forwards.push(json!({
                    "Protocol": "tcp", "HostAddress": "127.0.0.1", "HostPort": 0, "GuestPort": port,
                }));
            }
        }
    }
    context.store.save(&record)?;
    Machine::of(context, record)
}

/// Writes the files of its part of the config into the running machine, and starts its daemons.
fn tell(machine: &Machine) -> Result<(), Failure> {
    let text = machine_store::read(&machine.place.dir.join(MEMBER_CONFIG))?;
    let config: Value = serde_json::from_slice(&text)
        .map_err(|error| Failure::because("the cluster's part of the config is damaged", &error))?;
    let mut target = target(machine)?;
    target.user = "root".into();
    run_as_root(machine, "mkdir -p /etc/fleet /var/lib/fleet/tls && rm -rf /var/lib/kv")?;
    let runtime = runtime()?;
    let copied = runtime.block_on(async {
        let session = Session::connect(&target).await.map_err(|error| ssh_failure(&error))?;
        let copy = |error: CopyError| Failure::because("could not tell the machine", &error);
        let remote = session.files().await.map_err(copy)?;
        for file in config["storage"]["files"].as_array().into_iter().flatten() {
            let path = file["path"].as_str().unwrap_or_default();
            let contents = decode(file["contents"]["source"].as_str().unwrap_or_default());
            let mode = u32::try_from(file["mode"].as_u64().unwrap_or(0o600)).unwrap_or(0o600);
            remote.write(path, &contents, mode).await.map_err(copy)?;
        }
        session.close().await;
        Ok::<_, Failure>(())
    });
    runtime.shutdown_background();
    copied?;
    run_as_root(
        machine,
        "systemctl enable kv.service fleet.service && systemctl restart kv.service fleet.service",
    )
}

/// What `machine_core::ignition::data_url` wrote.
fn decode(url: &str) -> Vec<u8> {
    let mut bytes = url.strip_prefix("data:,").unwrap_or_default().bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let digits = [bytes.clone().next(), bytes.clone().nth(1)];
        match (byte, digits) {
            (b'%', [Some(high), Some(low)]) => {
                bytes.nth(1);
                let digits = [high, low];
                let text = std::str::from_utf8(&digits).unwrap_or("20");
                decoded.push(u8::from_str_radix(text, 16).unwrap_or(b' '));
            }
            (byte, _) => decoded.push(byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_as_a_url_reads_back() {
        let text = "a b\n%é{\"x\": [1]}\n";
        assert_eq!(decode(&machine_core::ignition::data_url(text)), text.as_bytes());
    }
}
