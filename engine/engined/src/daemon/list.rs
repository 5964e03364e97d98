//! `docker ps`: which containers, and what of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Daemon;
use super::container::{Container, Record, State};
use super::error::{Refusal, Result};
use super::filters::Filters;
use crate::clock;

/// What `GET /containers/json` was asked.
#[derive(Default)]
pub(crate) struct ListOptions {
    pub(crate) all: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) size: bool,
    pub(crate) filters: Filters,
    /// Show annotations, as since 1.46.
    pub(crate) annotations: bool,
}

const KNOWN_FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

impl Daemon {
    pub(crate) fn list(&self, mut options: ListOptions) -> Result<Vec<Value>> {
        let filters = std::mem::take(&mut options.filters);
        filters.check(&KNOWN_FILTERS)?;
        check_words(&filters)?;
        let bounds = (self.created_of(&filters, "since")?, self.created_of(&filters, "before")?);
        let mut chosen: Vec<(Arc<Container>, Record)> =
            self.containers.all().into_iter().map(|c| (c.clone(), c.record().clone())).collect();
        chosen.sort_by(|a, b| b.1.created.cmp(&a.1.created).then(a.1.id.cmp(&b.1.id)));
        let widened =
            options.all || options.limit.is_some() || filters.has("status") || bounds != (None, None);
        let exited = filters.has("exited");
        chosen.retain(|(_, record)| {
            (widened || exited || record.state.running)
                && bounds.0.is_none_or(|since| record.created > since)
                && bounds.1.is_none_or(|before| record.created < before)
                && self.matches(record, &filters)
        });
        chosen.truncate(options.limit.unwrap_or(usize::MAX));
        let link_names = self.link_names();
        let line = |record: &Record| -> Result<Value> {
            let mut line = self.line(record, options.size, &link_names)?;
            if let Some(annotations) = record.host.annotations.as_ref().filter(|_| options.annotations) {
                line["HostConfig"]["Annotations"] = json!(annotations);
            }
            Ok(line)
        };
        chosen.iter().map(|(_, record)| line(record)).collect()
    }

    fn created_of(&self, filters: &Filters, key: &str) -> Result<Option<i64>> {
        match filters.values(key).next() {
            Some(name) => Ok(Some(self.containers.find(name)?.record().created)),
            None => Ok(None),
        }
    }

    fn matches(&self, record: &Record, filters: &Filters) -> bool {
        let state = &record.state;
        let labels = record.config.labels.clone().unwrap_or_default();
        let health = state.health.as_ref().map_or("none", |h| h.status.as_str());
        filters.any("id", |v| record.id.starts_with(v))
            && filters.matches_name("name", &[&record.name, &format!("/{}", record.name)])
            && filters.any("status", |v| state.status() == v)
            && filters.any("health", |v| health == v)
            && filters.any("exited", |v| {
                !state.running && state.started_at != 0 && v.parse() == Ok(state.exit_code)
            })
            && filters.labels("label", &labels)
            && filters.any("ancestor", |v| self.descends(record, v))
            && filters.any("volume", |v| {
                record.mounts.iter().any(|m| m.name == v || m.target == v || m.source.as_os_str() == v)
            })
            && filters.any("network", |v| {
                record
                    .networks
                    .iter()
                    .any(|(name, e)| name == v || (e.network_id.starts_with(v) && !v.is_empty()))
            })
            && filters.any("expose", |v| {
                state.is_alive() && record.config.exposed_ports.keys().any(|p| port_matches(p, v))
            })
            && filters.any("publish", |v| {
                let published = record.ports.iter().flat_map(|(port, bindings)| {
                    let protocol = port.split_once('/').map_or("tcp", |(_, protocol)| protocol);
                    bindings.iter().map(move |binding| format!("{}/{protocol}", binding.host_port))
                });
                published.into_iter().any(|port| port_matches(&port, v))
            })
            && filters.any("is-task", |v| matches!(v, "false" | "0"))
    }

    /// The container's image, or one that it is built on, is the one named.
    fn descends(&self, record: &Record, name: &str) -> bool {
        let Ok(wanted) = self.store.lookup(name) else { return false };
        let Some(image) = record.image_id.parse().ok().and_then(|id| self.store.image(&id)) else {
            return false;
        };
        let (own, base) = (&image.config.rootfs.diff_ids, &wanted.config.rootfs.diff_ids);
        image.id == wanted.id || (!base.is_empty() && own.starts_with(base) && own.len() > base.len())
    }

    fn line(&self, record: &Record, size: bool, link_names: &[(String, String)]) -> Result<Value> {
        let mut names = vec![format!("/{}", record.name)];
        names.extend(link_names.iter().filter(|(id, _)| *id == record.id).map(|(_, name)| name.clone()));
        names.sort_unstable();
        let mut networks = record.networks.clone();
        for settings in networks.values_mut() {
            settings.aliases = None;
            settings.links = None;
        }
        let mut mounts: Vec<_> =
            record.mounts.iter().filter(|m| !m.hidden).map(super::container::Mounted::shown).collect();
        for mount in mounts.iter_mut().filter(|m| m.kind == "volume") {
            mount.source.clear();
        }
        let mut line = json!({
            "Id": record.id,
            "Names": names,
            "Image": self.shown_image(record),
            "ImageID": record.image_id,
            "Command": command(record),
            "Created": record.created / 1_000_000_000,
            "Ports": ports(record),
            "Labels": record.config.labels.clone().unwrap_or_default(),
            "State": record.state.status(),
            "Status": status_text(&record.state, clock::now()),
            "HostConfig": { "NetworkMode": record.host.network_mode },
            "NetworkSettings": { "Networks": networks },
            "Mounts": mounts,
        });
        if size {
            let (rw, root) = self.sizes(record)?;
            if rw > 0 {
                line["SizeRw"] = rw.into();
            }
            line["SizeRootFs"] = root.into();
        }
        Ok(line)
    }

    /// The name it was made from, unless that means another image by now.
    fn shown_image(&self, record: &Record) -> String {
        match self.store.lookup(&record.config.image) {
            Ok(image) if image.id.to_string() == record.image_id => record.config.image.clone(),
            _ => record.image_id.clone(),
        }
    }
}

fn check_words(filters: &Filters) -> Result<()> {
    const STATUS: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
    const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];
    if let Some(bad) = filters.values("status").find(|v| !STATUS.contains(v)) {
        return Err(Refusal::bad(format!("Invalid filter 'status={bad}'")));
    }
    if let Some(bad) = filters.values("health").find(|v| !HEALTH.contains(v)) {
        return Err(Refusal::bad(format!("Unrecognised filter value for health: {bad}")));
    }
    if let Some(bad) = filters.values("is-task").find(|v| !matches!(*v, "true" | "false" | "1" | "0")) {
        return Err(Refusal::bad(format!("Invalid filter 'is-task=[{bad}]'")));
    }
    for key in ["publish", "expose"] {
        for wanted in filters.values(key) {
            let range = wanted.split('/').next().unwrap_or_default();
            if let Some(bad) = range.split('-').find(|number| number.parse::<u16>().is_err()) {
                let all_digits = !bad.is_empty() && bad.bytes().all(|b| b.is_ascii_digit());
                let why = if all_digits { "value out of range" } else { "invalid syntax" };
                return Err(Refusal::bad(format!(
                    "error while looking up for {key} {wanted}: strconv.ParseUint: parsing {bad:?}: {why}"
                )));
            }
        }
    }
    if let Some(bad) = filters.values("exited").find(|v| v.parse::<i32>().is_err()) {
        return Err(Refusal::bad(format!("strconv.Atoi: parsing {bad:?}: invalid syntax")));
    }
    Ok(())
}

/// `80`, `80/tcp`, `80-90/tcp` against `80/tcp`.
fn port_matches(port: &str, wanted: &str) -> bool {
    let (range, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let Some((number, own)) = port.split_once('/') else { return false };
    let read = |t: &str| t.parse::<u16>().ok();
    match (read(number), read(low), read(high)) {
        (Some(n), Some(low), Some(high)) => own == protocol && (low..=high).contains(&n),
        _ => false,
    }
}

fn command(record: &Record) -> String {
    if record.args.is_empty() {
        return record.path.clone();
    }
    let quoted = record
        .args
        .iter()
        .map(|arg| if arg.contains(' ') { format!("'{}'", arg.replace('\'', "\\'")) } else { arg.clone() });
    format!("{} {}", record.path, quoted.collect::<Vec<_>>().join(" "))
}

fn ports(record: &Record) -> Vec<Value> {
    let mut shown = Vec::new();
    if !record.state.is_alive() {
        return shown;
    }
    let mut by_port: BTreeMap<(u16, String), Vec<(String, u16)>> = BTreeMap::new();
    let split = |port: &str| {
        let (number, protocol) = port.split_once('/')?;
        Some((number.parse::<u16>().ok()?, protocol.to_owned()))
    };
    if !record.networks.is_empty() && !matches!(record.host.network(), "host" | "none") {
        for key in record.config.exposed_ports.keys().filter_map(|p| split(p)) {
            by_port.entry(key).or_default();
        }
    }
    for (port, bindings) in &record.ports {
        let Some(key) = split(port) else { continue };
        let list = by_port.entry(key).or_default();
        list.extend(bindings.iter().filter_map(|b| Some((b.host_ip.clone(), b.host_port.parse().ok()?))));
    }
    for ((private, protocol), bindings) in by_port {
        if bindings.is_empty() {
            shown.push(json!({ "PrivatePort": private, "Type": protocol }));
        }
        for (ip, public) in bindings {
            shown.push(json!({ "IP": ip, "PrivatePort": private, "PublicPort": public, "Type": protocol }));
        }
    }
    shown
}

/// `Up 3 minutes (healthy)`, `Exited (1) 2 days ago`.
fn status_text(state: &State, now: i64) -> String {
    let ago = |then: i64| clock::in_words(now - then);
    if state.running {
        if state.paused {
            return format!("Up {} (Paused)", ago(state.started_at));
        }
        if state.restarting {
            return format!("Restarting ({}) {} ago", state.exit_code, ago(state.finished_at));
        }
        let health = match state.health.as_ref().map(|h| h.status.as_str()) {
            Some("starting") => " (health: starting)".to_owned(),
            Some(status) => format!(" ({status})"),
            None => String::new(),
        };
        return format!("Up {}{health}", ago(state.started_at));
    }
    match state.status() {
        "removing" => "Removal In Progress".into(),
        "dead" => "Dead".into(),
        "created" => "Created".into(),
        _ if state.finished_at == 0 => String::new(),
        _ => format!("Exited ({}) {} ago", state.exit_code, ago(state.finished_at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_in_words() {
        let s = 1_000_000_000;
        let mut state = State { running: true, started_at: 10 * s, ..State::default() };
        assert_eq!(status_text(&state, 15 * s), "Up 5 seconds");
        state.paused = true;
        assert_eq!(status_text(&state, 15 * s), "Up 5 seconds (Paused)");
        let state = State { exit_code: 3, started_at: s, finished_at: 10 * s, ..State::default() };
        assert_eq!(status_text(&state, 70 * s), "Exited (3) About a minute ago");
        assert_eq!(status_text(&State::default(), s), "Created");
    }

    #[test]
    fn ports_and_ranges() {
        assert!(port_matches("80/tcp", "80") && port_matches("80/udp", "70-90/udp"));
        assert!(!port_matches("80/tcp", "80/udp") && !port_matches("80/tcp", "x"));
    }
}
