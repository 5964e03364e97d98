//! Links of the old kind, on the default bridge: names, variables and doors to one other container each.
//!
//! A container keeps its links as `ID:ALIAS`, so that the other one may be renamed. Seen from outside, a
//! linked container has one more name: `/PARENT/ALIAS`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use engine_api::host_config::HostConfig;

use super::Daemon;
use super::container::{Container, Record};
use super::durable::Survive;
use super::error::{Refusal, Result};

/// `NAME`, `NAME:ALIAS`, or as inspect shows it, `/NAME:/PARENT/ALIAS`.
fn split(link: &str) -> (&str, &str) {
    let (name, alias) = link.split_once(':').unwrap_or((link, link));
    (name, alias.rsplit('/').next().unwrap_or(alias))
}

/// Whether a container's links are of the old kind; on other networks they are the network's.
fn are_legacy(host: &HostConfig) -> bool {
    matches!(host.network(), "bridge" | "none")
}

impl Daemon {
    /// Finds the containers that a new one links to.
    pub(crate) fn resolve_links(&self, host: &mut HostConfig) -> Result<()> {
        if !are_legacy(host) {
            return Ok(());
        }
        for link in host.links.iter_mut().flatten() {
            let (name, alias) = split(link);
            let missing =
                |e: Refusal| Refusal::bad(format!("could not get container for {name}: {}", e.message));
            let mut other = self.containers.find(name).map_err(missing)?;
            // One that has its network from another is reached there. The way there has an end.
            for _ in 0..16 {
                let Some(next) = other.record().host.network_of().map(str::to_owned) else { break };
                other = self.containers.find(&next).map_err(missing)?;
            }
            if other.record().host.network() == "host" {
                return Err(Refusal::bad(super::settings::LINKS_ON_HOST));
            }
            *link = format!("{}:{alias}", other.id);
        }
        Ok(())
    }

    /// Those that a container is linked to, each with the name it has there.
    fn linked(&self, record: &Record) -> Vec<(Arc<Container>, String)> {
        let links = record.host.links.iter().flatten().filter(|_| are_legacy(&record.host));
        links
            .map(|link| split(link))
            .filter_map(|(name, alias)| Some((self.containers.find(name).ok()?, alias.to_owned())))
            .collect()
    }

    /// As inspect shows them.
    pub(crate) fn shown_links(&self, record: &Record) -> Option<Vec<String>> {
        let linked = self.linked(record);
        let shown: Vec<String> = linked
            .iter()
            .map(|(other, alias)| format!("/{}:/{}/{alias}", other.name(), record.name))
            .collect();
        Some(shown).filter(|shown| !shown.is_empty())
    }

    /// The further names of every container that others are linked to, as (id, name).
    pub(crate) fn link_names(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for parent in self.containers.all() {
            let record = parent.record().clone();
            for (other, alias) in self.linked(&record) {
                names.push((other.id.clone(), format!("/{}/{alias}", record.name)));
            }
        }
        names
    }

    /// Finds a container also by `PARENT/ALIAS`.
    pub(crate) fn find_linked(&self, text: &str) -> Result<Arc<Container>> {
        let found = self.containers.find(text);
        let Some((parent, alias)) = text.trim_start_matches('/').split_once('/') else { return found };
        let Ok(parent) = self.containers.find(parent) else { return found };
        let record = parent.record().clone();
        let linked = self.linked(&record);
        linked.into_iter().find(|(_, name)| name == alias).map(|(other, _)| other).map_or(found, Ok)
    }

    /// Cuts the link that gives a container the name `PARENT/ALIAS`.
    pub(crate) fn remove_link(&self, name: &str) -> Result<()> {
        self.find_linked(name)?;
        let Some((parent, alias)) = name.trim_start_matches('/').split_once('/') else {
            return Err(Refusal::internal("Conflict, cannot remove the default link name of the container"));
        };
        let parent = self
            .containers
            .find(parent)
            .map_err(|_| Refusal::internal(format!("Cannot get parent /{parent} for link name /{name}")))?;
        if let Some(links) = &mut parent.record().host.links {
            links.retain(|link| split(link).1 != alias);
        }
        parent.save(Survive::PowerCut)?;
        if parent.record().state.is_alive() {
            self.write_files(&parent)?;
            self.apply_firewall()?;
        }
        Ok(())
    }

    /// A container starts only when those it is linked to run.
    pub(crate) fn check_linked_run(&self, record: &Record) -> Result<()> {
        let down = self.linked(record).into_iter().find(|(other, _)| !other.record().state.is_alive());
        match down {
            Some((other, alias)) => Err(Refusal::internal(format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                other.name(),
                record.name
            ))),
            None => Ok(()),
        }
    }
}

/// A link of the old kind, on the default bridge.
pub(crate) struct KnownLink {
    pub(crate) address: Ipv4Addr,
    alias: String,
    pub(crate) target: Record,
}

impl KnownLink {
    /// The names in /etc/hosts.
    pub(crate) fn names(&self) -> String {
        let mut names = vec![self.alias.as_str(), self.target.config.hostname.as_str()];
        if self.target.name != self.alias {
            names.push(&self.target.name);
        }
        names.join(" ")
    }

    /// The variables it brings.
    pub(crate) fn environment(&self, child: &str) -> Vec<String> {
        let alias = self.alias.replace('-', "_").to_ascii_uppercase();
        let mut ports: Vec<(u16, &str)> = self
            .target
            .config
            .exposed_ports
            .keys()
            .filter_map(|p| p.split_once('/'))
            .filter_map(|(n, protocol)| Some((n.parse().ok()?, protocol)))
            .collect();
        ports.sort_unstable();
        let mut env = Vec::new();
        let address = self.address;
        if let Some((port, protocol)) = ports.first() {
            env.push(format!("{alias}_PORT={protocol}://{address}:{port}"));
        }
        for (port, protocol) in &ports {
            let prefix = format!("{alias}_PORT_{port}_{}", protocol.to_ascii_uppercase());
            env.push(format!("{prefix}={protocol}://{address}:{port}"));
            env.push(format!("{prefix}_ADDR={address}"));
            env.push(format!("{prefix}_PORT={port}"));
            env.push(format!("{prefix}_PROTO={protocol}"));
        }
        env.push(format!("{alias}_NAME=/{child}/{}", self.alias));
        for entry in self.target.config.env.iter().flatten() {
            if let Some((key, value)) = entry.split_once('=').filter(|(k, _)| !matches!(*k, "HOME" | "PATH"))
            {
                env.push(format!("{alias}_ENV_{key}={value}"));
            }
        }
        env
    }
}

impl Daemon {
    /// The links of a container to others that run.
    pub(crate) fn links(&self, record: &Record) -> Vec<KnownLink> {
        let mut known = Vec::new();
        for (other, alias) in self.linked(record) {
            if other.id == record.id {
                continue;
            }
            let target = other.record().clone();
            let address = target.endpoints.iter().find_map(|e| e.address);
            if let Some(address) = address {
                known.push(KnownLink { address, alias, target });
            }
        }
        known
    }

    /// The variables of links come before the container's own.
    pub(crate) fn add_link_environment(&self, container: &Container, spec: &mut engine_runtime::spec::Spec) {
        let record = container.record().clone();
        for link in self.links(&record) {
            for entry in link.environment(&record.name) {
                let key = entry.split('=').next().unwrap_or_default();
                if !spec.process.env.iter().any(|e| e.split('=').next() == Some(key)) {
                    spec.process.env.push(entry);
                }
            }
        }
    }

    /// A container that others link to has an address now: their hosts files learn it.
    pub(crate) fn refresh_linked(&self, container: &Container) {
        for other in self.containers.all() {
            let linked = {
                let record = other.record();
                other.id != container.id
                    && record.state.is_alive()
                    && self.linked(&record).iter().any(|(target, _)| target.id == container.id)
            };
            if linked && let Err(error) = self.write_files(&other) {
                tracing::warn!(container = %other.id, %error, "could not update the hosts file");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_in_every_form() {
        assert_eq!(split("db"), ("db", "db"));
        assert_eq!(split("db:store"), ("db", "store"));
        assert_eq!(split("/db:/web/store"), ("/db", "store"));
        assert_eq!(split("/db"), ("/db", "db"));
    }
}
