//! `rmachine status`: one machine's state as one word, or a cluster at a glance.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use machine_pki::Certificate;
use machine_types::MachineName;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::cluster;
use crate::cluster::keys::MEMBER;
use crate::cluster::kv::{Kv, KvMember};
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::{Machine, name_or_default};
use crate::switch;
use crate::table::align;

/// Flags of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Name of the machine [default: default]
    name: Option<String>,
    /// Show a whole cluster: machines, kv members, units, alarms,
    /// certificates
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    cluster: Option<MachineName>,
    /// Print a cluster's status as json
    #[arg(long, value_name = "json", requires = "cluster")]
    format: Option<String>,
}

const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn run(context: &Context, args: &Status) -> Result<ExitCode, Failure> {
    let Some(name) = &args.cluster else {
        let name = name_or_default(context, args.name.as_ref())?;
        say!("{}", Machine::load(context, &name)?.state(LIMIT)?);
        return Ok(ExitCode::SUCCESS);
    };
    let seen = look(context, name)?;
    match args.format.as_deref() {
        None => print(&seen),
        Some("json") => say!("{seen:#}"),
        Some(other) => return Err(Failure::new(format!("`{other}` is no format of status")).hint("use json")),
    }
    Ok(if seen["Healthy"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that is worth knowing of a cluster, as it is now.
fn look(context: &Context, name: &MachineName) -> Result<Value, Failure> {
    let kept = cluster::load(context, name)?;
    let kv = Kv::of(context, name)?;
    let mut problems = Vec::new();
    let members = kv.members().unwrap_or_else(|failure| {
        problems.push(format!("the kv does not answer: {}", failure.message));
        Vec::new()
    });
    let fleet = kv.fleet("/fleet/v1/machines").unwrap_or_else(|failure| {
        problems.push(format!("the fleet does not answer: {}", failure.message));
        Value::Null
    });
    let states = kv.fleet("/fleet/v1/state").unwrap_or_default();
    let units = states["states"].as_array().cloned().unwrap_or_default();
    let statuses = kv.statuses();
    let leader = statuses.values().map(|status| status.leader).max().unwrap_or_default();
    let mut machines = Vec::new();
    for (machine, member) in &kept.members {
        let own = Machine::load(context, machine).ok();
        let state = own.as_ref().and_then(|machine| machine.state(LIMIT).ok());
        let status = statuses.get(machine);
        let url = format!("https://{}:2380", member.address);
        let vote = members.iter().find(|found| found.peer_urls.contains(&url));
        let id = member.machine.map(|id| id.simple().to_string()).unwrap_or_default();
        let in_fleet = fleet["machines"].as_array().is_some_and(|all| all.iter().any(|it| it["id"] == *id));
        if status.is_none() && !members.is_empty() && !member.worker {
            problems.push(format!("the kv of `{machine}` does not answer"));
        }
        if !in_fleet && !fleet.is_null() {
            problems.push(format!("the fleet does not see `{machine}`"));
        }
        machines.push(json!({
            "Name": machine,
            "Id": id,
            "State": match state {
                Some(state) => state.to_string(),
                // Nobody but the fleet knows of a bare machine.
                None if member.worker && in_fleet => "Running".to_owned(),
                None => "Unknown".to_owned(),
            },
            "Address": member.address,
            "Kv": role(vote, status.map(|status| status.leader)),
            "Revision": status.map(|status| status.revision),
            "Fleet": in_fleet,
            "Units": units.iter().filter(|unit| unit["machineID"] == *id).count(),
            "CertificateDays": own.as_ref().and_then(|machine| days_left(context, &kept.name, machine)),
        }));
    }
    let runs = |machine: &Value| machine["State"] == "Running";
    if machines.iter().any(runs) && !switch::is_there(context, name) {
        problems.push("the switch is gone: `rmachine start` plugs its machines in anew".to_owned());
    }
    for stranger in members.iter().filter(|member| {
        !kept.members.values().any(|it| member.peer_urls.contains(&format!("https://{}:2380", it.address)))
    }) {
        problems.push(format!("the kv has a member `{}` that rmachine did not make", stranger.name));
    }
    let alarms = kv.alarms().unwrap_or_default();
    problems.extend(alarms.iter().map(|alarm| format!("alarm {alarm}")));
    let failed = units.iter().filter(|unit| unit["systemdActiveState"] == "failed");
    problems.extend(failed.map(|unit| format!("unit {} failed", unit["name"].as_str().unwrap_or_default())));
    let leading = members.iter().find(|member| member.id == leader).map(|member| member.name.clone());
    Ok(json!({
        "Name": name,
        "Healthy": problems.is_empty() && leading.is_some(),
        "Leader": leading,
        "Members": members.len(),
        "Machines": machines,
        "Units": units,
        "Alarms": alarms,
        "Problems": problems,
    }))
}

fn role(member: Option<&KvMember>, leader: Option<u64>) -> &'static str {
    match member {
        None => "-",
        Some(member) if member.is_learner => "learner",
        Some(member) if leader == Some(member.id) => "leader",
        Some(_) => "voter",
    }
}

fn days_left(context: &Context, cluster: &MachineName, machine: &Machine) -> Option<i64> {
    let text = |path: std::path::PathBuf| std::fs::read_to_string(path).ok();
    let ca = text(context.store.cluster(cluster).join("ca.pem"))?;
    let cert = text(machine.place.dir.join(MEMBER[0]))?;
    let read = Certificate::read(&cert, &ca).ok()?;
    Some((read.not_after - OffsetDateTime::now_utc()).whole_days())
}

fn print(seen: &Value) {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        other => other.to_string(),
    };
    let columns = ["Name", "State", "Address", "Kv", "Revision", "Fleet", "Units", "CertificateDays"];
    let mut lines = vec![
        ["MACHINE", "STATE", "ADDRESS", "KV", "REVISION", "FLEET", "UNITS", "CERT DAYS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for machine in seen["Machines"].as_array().into_iter().flatten() {
        lines.push(columns.iter().map(|column| text(&machine[*column])).collect());
    }
    let health = if seen["Healthy"] == true { "healthy" } else { "NOT healthy" };
    say!("cluster {}: {health}, leader {}", text(&seen["Name"]), text(&seen["Leader"]));
    put!("{}", align(&lines));
    let units = seen["Units"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !units.is_empty() {
        let mut lines = vec![["UNIT", "ACTIVE", "SUB", "MACHINE"].map(str::to_owned).to_vec()];
        for unit in units {
            let machines = seen["Machines"].as_array().map(Vec::as_slice).unwrap_or_default();
            let named = machines.iter().find(|machine| machine["Id"] == unit["machineID"]);
            let name = named.map_or_else(|| text(&unit["machineID"]), |machine| text(&machine["Name"]));
            let [unit, active, sub] =
                ["name", "systemdActiveState", "systemdSubState"].map(|field| text(&unit[field]));
            lines.push(vec![unit, active, sub, name]);
        }
        say!("");
        put!("{}", align(&lines));
    }
    for problem in seen["Problems"].as_array().into_iter().flatten() {
        say!("problem: {}", text(problem));
    }
}
