//! Networks.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_api::network::{NetworkConnect, NetworkCreate, NetworkDisconnect};
use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Call, Done, Fail};
use super::images::blocking;
use crate::clock;
use crate::daemon::Daemon;
use crate::daemon::error::Refusal;
use crate::daemon::events::attributes;
use crate::daemon::filters::Filters;
use crate::daemon::networks::NetRecord;

fn shown(d: &Daemon, network: &NetRecord, members: bool) -> Value {
    let mut containers: BTreeMap<String, Value> = BTreeMap::new();
    for member in d.members(&network.id).iter().filter(|_| members) {
        let record = member.record();
        let Some(settings) = record.networks.values().find(|s| s.network_id == network.id) else { continue };
        let address = match settings.ip_address.as_str() {
            "" => String::new(),
            a => format!("{a}/{}", settings.ip_prefix_len),
        };
        let entry = json!({
            "Name": record.name,
            "EndpointID": settings.endpoint_id,
            "MacAddress": settings.mac_address,
            "IPv4Address": address,
            "IPv6Address": "",
        });
        containers.insert(record.id.clone(), entry);
    }
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": clock::rfc3339(network.created),
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv6": false,
        "IPAM": network.ipam,
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
    })
}

pub(super) async fn list(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.check(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    if let Some(bad) = filters.values("type").find(|t| !matches!(*t, "custom" | "builtin")) {
        return Err(Fail::bad(format!("invalid filter: 'type'='{bad}'")));
    }
    let dangling = filters.flag("dangling").map_err(|_| {
        Fail::bad("invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")")
    })?;
    let all: Vec<NetRecord> = d.networks.all().values().cloned().collect();
    let chosen: Vec<Value> = all
        .iter()
        .filter(|n| {
            filters.any("driver", |v| n.driver == v)
                && filters.any("id", |v| n.id.contains(v))
                && filters.matches_name("name", &[&n.name])
                && filters.any("scope", |v| v == "local")
                && filters.any("type", |v| (v == "builtin") == n.is_predefined())
                && filters.labels("label", &n.labels)
                && dangling.is_none_or(|wanted| !n.is_predefined() && d.members(&n.id).is_empty() == wanted)
        })
        // Lists leave the members out since 1.28.
        .map(|n| shown(d, n, !call.at_least(28)))
        .collect();
    call.ok_json(&chosen).await
}

pub(super) async fn inspect(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let verbose = call.query.text("verbose");
    if !matches!(verbose, "" | "0" | "1" | "t" | "f" | "T" | "F" | "true" | "false" | "True" | "False") {
        return Err(Fail::bad(format!(
            "invalid value for verbose: {verbose}: strconv.ParseBool: parsing {verbose:?}: invalid syntax"
        )));
    }
    let scope = call.query.text("scope");
    if !matches!(scope, "" | "local") {
        return Err(Fail::missing(format!("network {name} not found")));
    }
    let network = d.networks.find(name)?;
    call.ok_json(&shown(d, &network, true)).await
}

pub(super) async fn create(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let asked: NetworkCreate = call.json().await?;
    d.networks.are_up().await;
    let daemon = d.clone();
    let made = blocking(move || {
        let made = daemon.networks.create(&asked, &daemon.config)?;
        daemon.apply_firewall()?;
        Ok(made)
    })
    .await?;
    d.tell_network(&made, "create", "");
    call.reply_json(StatusCode::CREATED, &json!({ "Id": made.id, "Warning": "" })).await
}

pub(super) async fn remove(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    remove_one(d, name).await?;
    call.empty(StatusCode::NO_CONTENT).await
}

async fn remove_one(d: &Arc<Daemon>, name: &str) -> Result<(), Fail> {
    let network = d.networks.find(name)?;
    if network.is_predefined() {
        return Err(Fail::Refused(
            StatusCode::FORBIDDEN,
            format!("{} is a pre-defined network and cannot be removed", network.name),
        ));
    }
    if !d.members(&network.id).is_empty() {
        return Err(Fail::Refused(
            StatusCode::FORBIDDEN,
            format!(
                "error while removing network: network {} id {} has active endpoints",
                network.name, network.id
            ),
        ));
    }
    d.networks.are_up().await;
    let (daemon, gone) = (d.clone(), network.clone());
    blocking(move || {
        daemon.networks.remove(&gone)?;
        daemon.apply_firewall()
    })
    .await?;
    d.tell_network(&network, "destroy", "");
    Ok(())
}

pub(super) async fn connect(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let asked: NetworkConnect = call.json().await?;
    // The container first, as Docker looks.
    let container = d.containers.find(&asked.container)?;
    d.connect(name, &container, asked.endpoint_config.unwrap_or_default()).await?;
    call.empty(StatusCode::OK).await
}

pub(super) async fn disconnect(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let asked: NetworkDisconnect = call.json().await?;
    let container = match d.containers.find(&asked.container) {
        // By force, what is left of a container that is gone would go too; nothing ever is.
        Err(_) if asked.force && !asked.container.is_empty() => {
            d.networks.find(name)?;
            return Err(Refusal::missing(format!("endpoint {} not found", asked.container)).into());
        }
        found => found?,
    };
    d.disconnect(name, &container).await?;
    call.empty(StatusCode::OK).await
}

pub(super) async fn prune(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.check(&["label", "label!", "until"])?;
    let until = super::prune::until(&filters)?;
    let all: Vec<NetRecord> = d.networks.all().values().cloned().collect();
    let mut gone = Vec::new();
    for network in all {
        let in_use = d.containers.all().iter().any(|c| c.record().networks.contains_key(&network.name));
        let wanted = !network.is_predefined()
            && !in_use
            && until.is_none_or(|u| network.created < u)
            && filters.labels("label", &network.labels)
            && filters.not_labels("label!", &network.labels);
        if wanted && remove_one(d, &network.id).await.is_ok() {
            gone.push(network.name);
        }
    }
    d.events.tell("network", "prune", "", attributes([("reclaimed", "0")]));
    let deleted = if gone.is_empty() { Value::Null } else { json!(gone) };
    call.ok_json(&json!({ "NetworksDeleted": deleted })).await
}

impl From<engine_net::NetError> for Fail {
    fn from(error: engine_net::NetError) -> Fail {
        Refusal::from(error).into()
    }
}
