//! What the API shows of a container.

use std::collections::BTreeMap;

use engine_api::ApiVersion;
use engine_api::container::State as ShownState;
use engine_api::host_config::HostConfig;
use engine_api::network::EndpointSettings;
use serde_json::{Value, json};

use super::Daemon;
use super::container::{Container, Record, State};
use super::error::Result;
use crate::clock;

impl Daemon {
    /// `GET /containers/{id}/json`
    pub(crate) fn inspect(&self, container: &Container, size: bool, version: ApiVersion) -> Result<Value> {
        let record = container.record().clone();
        let running = record.state.is_alive();
        let file = |name: &str| {
            if running || record.state.started_at != 0 {
                container.dir.join(name).display().to_string()
            } else {
                String::new()
            }
        };
        let log_path = match record.host.log_config.kind.as_str() {
            "json-file" if record.state.started_at != 0 => container.log_path().display().to_string(),
            _ => String::new(),
        };
        let execs: Vec<String> = container
            .execs
            .lock()
            .expect("no code panics holding it")
            .values()
            .filter(|e| e.exit_code().is_none())
            .map(|e| e.id.clone())
            .collect();
        let mut config = serde_json::to_value(&record.config).unwrap_or_default();
        if let Some(object) = config.as_object_mut() {
            object.entry("Volumes").or_insert(Value::Null);
        }
        let mut body = json!({
            "Id": record.id,
            "Created": clock::rfc3339(record.created),
            "Path": record.path,
            "Args": record.args,
            "State": shown_state(&record.state),
            "Image": record.image_id,
            "ResolvConfPath": file("resolv.conf"),
            "HostnamePath": file("hostname"),
            "HostsPath": file("hosts"),
            "LogPath": log_path,
            "Name": format!("/{}", record.name),
            "RestartCount": record.restart_count,
            "Driver": "overlay2",
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": if execs.is_empty() { Value::Null } else { json!(execs) },
            "HostConfig": HostConfig { links: self.shown_links(&record), ..record.host.clone() },
            "GraphDriver": self.graph_driver(&record.id),
            "Mounts": self.shown_mounts(&record),
            "Config": config,
            "NetworkSettings": self.network_settings(&record, version),
        });
        if version < ApiVersion::v1(42) {
            body["HostConfig"]["KernelMemory"] = 0.into();
            body["HostConfig"]["KernelMemoryTCP"] = 0.into();
        }
        if version >= ApiVersion::v1(48) {
            body["ImageManifestDescriptor"] = Value::Null;
        }
        if size {
            let (rw, root) = self.sizes(&record)?;
            body["SizeRw"] = rw.into();
            body["SizeRootFs"] = root.into();
        }
        Ok(body)
    }

    fn graph_driver(&self, id: &str) -> Value {
        let Some(writable) = self.store.writable(id) else { return Value::Null };
        let lowers: Vec<String> = writable.lowers.iter().map(|p| p.display().to_string()).collect();
        let merged = writable.upper.parent().map(|p| p.join("merged"));
        json!({
            "Data": {
                "LowerDir": lowers.join(":"),
                "MergedDir": merged,
                "UpperDir": writable.upper,
                "WorkDir": writable.work,
            },
            "Name": "overlay2",
        })
    }

    fn shown_mounts(&self, record: &Record) -> Vec<Value> {
        let shown = record.mounts.iter().filter(|m| !m.hidden);
        shown.map(|m| serde_json::to_value(m.shown()).unwrap_or_default()).collect()
    }

    /// Bytes of the writable layer, and of all layers.
    pub(crate) fn sizes(&self, record: &Record) -> Result<(u64, u64)> {
        let own = match self.store.writable(&record.id) {
            Some(writable) => self.store.writable_size(&writable)?,
            None => 0,
        };
        let image = record.image_id.parse().ok().and_then(|id| self.store.image(&id));
        Ok((own, own + image.map_or(0, |i| i.size)))
    }
}

fn shown_state(state: &State) -> ShownState {
    ShownState {
        status: state.status().into(),
        running: state.running,
        paused: state.paused,
        restarting: state.restarting,
        oom_killed: state.oom_killed,
        dead: state.dead,
        pid: state.pid,
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: clock::rfc3339(state.started_at),
        finished_at: clock::rfc3339(state.finished_at),
        health: state.health.clone(),
    }
}

impl Daemon {
    fn network_settings(&self, record: &Record, version: ApiVersion) -> Value {
        let mut shown = network_settings(record);
        let names = |settings: &EndpointSettings| {
            let network = self.networks.all().get(&settings.network_id).map(|n| n.net.embedded_dns);
            network.unwrap_or(false).then(|| dns_names(record, settings))
        };
        for (name, settings) in record.networks.iter().filter(|_| version >= ApiVersion::v1(44)) {
            let own = &mut shown["Networks"][name];
            own["DNSNames"] = json!(names(settings));
            if version >= ApiVersion::v1(45) {
                // The name that every container has is among the others now.
                own["Aliases"] = json!(own_aliases(record, settings));
            }
        }
        shown
    }
}

/// Aliases that a user gave.
fn own_aliases(record: &Record, settings: &EndpointSettings) -> Option<Vec<String>> {
    let short = super::names::short(&record.id);
    let given = settings.aliases.iter().flatten().filter(|a| *a != short).cloned();
    Some(given.collect()).filter(|given: &Vec<String>| !given.is_empty())
}

/// What a container answers to in a network, the name for reverse look-ups first.
fn dns_names(record: &Record, settings: &EndpointSettings) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    names.extend(own_aliases(record, settings).into_iter().flatten());
    names.extend([super::names::short(&record.id).to_owned(), record.config.hostname.clone()]);
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    names
}

fn network_settings(record: &Record) -> Value {
    let empty = EndpointSettings::default();
    let bridge = record.networks.get("bridge").unwrap_or(&empty);
    let ports: BTreeMap<String, Value> =
        if record.state.is_alive() { shown_ports(record) } else { BTreeMap::new() };
    let sandbox_id = if record.sandbox.is_empty() { "" } else { record.id.as_str() };
    json!({
        "Bridge": "",
        "SandboxID": sandbox_id,
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": ports,
        "SandboxKey": record.sandbox,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": bridge.endpoint_id,
        "Gateway": bridge.gateway,
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": bridge.ip_address,
        "IPPrefixLen": bridge.ip_prefix_len,
        "IPv6Gateway": "",
        "MacAddress": bridge.mac_address,
        "Networks": record.networks,
    })
}

/// Published ports with their bindings, exposed ones with null.
fn shown_ports(record: &Record) -> BTreeMap<String, Value> {
    let mut shown: BTreeMap<String, Value> =
        record.config.exposed_ports.keys().map(|port| (port.clone(), Value::Null)).collect();
    if record.networks.is_empty() || matches!(record.host.network(), "host" | "none") {
        shown.clear();
    }
    for (port, bindings) in &record.ports {
        shown.insert(port.clone(), json!(bindings));
    }
    shown
}
