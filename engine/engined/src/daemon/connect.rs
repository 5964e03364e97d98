//! Connecting containers to networks and taking them off, also while they run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use engine_api::network::{EndpointIpam, EndpointSettings};

use super::Daemon;
use super::container::Container;
use super::durable::Survive;
use super::error::{Refusal, Result};
use super::names;

const HOST_NETWORK: &str = "container cannot be disconnected from host network or connected to host network";

/// Addresses that are none are refused before anything is looked up.
fn check_addresses(ipam: &EndpointIpam) -> Result<()> {
    let wrong = |what: &str, text: &str| {
        Refusal::bad(format!("invalid endpoint settings:\ninvalid {what} address: {text}"))
    };
    let (v4, v6) = (ipam.ipv4_address.as_str(), ipam.ipv6_address.as_str());
    if !v4.is_empty() && v4.parse::<Ipv4Addr>().is_err() {
        return Err(wrong("IPv4", v4));
    }
    if !v6.is_empty() && v6.parse::<Ipv6Addr>().is_err() {
        return Err(wrong("IPv6", v6));
    }
    match ipam.link_local_ips.iter().flatten().find(|a| a.parse::<IpAddr>().is_err()) {
        Some(bad) => Err(wrong("link-local IP", bad)),
        None => Ok(()),
    }
}

/// On networks with names every container has its short id for one.
pub(crate) fn add_own_name(id: &str, settings: &mut EndpointSettings) {
    let short = names::short(id).to_owned();
    let aliases = settings.aliases.get_or_insert_default();
    if !aliases.contains(&short) {
        aliases.push(short);
    }
}

impl Daemon {
    /// The name of a network that may be called by its id.
    pub(crate) fn network_name(&self, called: &str) -> String {
        self.networks.find(called).map_or_else(|_| called.to_owned(), |network| network.name)
    }

    /// Checks what a container asks of a network.
    pub(crate) fn check_endpoint(&self, name: &str, settings: &EndpointSettings) -> Result<()> {
        if let Some(ipam) = &settings.ipam_config {
            check_addresses(ipam)?;
        }
        let network = self.networks.find(name)?;
        let wants_address = settings.ipam_config.as_ref().is_some_and(|i| !i.ipv4_address.is_empty());
        let has_aliases = settings.aliases.as_ref().is_some_and(|a| !a.is_empty());
        if wants_address && network.net.embedded_dns && !network.own_subnet {
            return Err(Refusal::bad(
                "user specified IP address is supported only when connecting to networks with user configured subnets",
            ));
        }
        if network.net.embedded_dns {
            return Ok(());
        }
        if wants_address {
            return Err(Refusal::bad("user specified IP address is supported on user defined networks only"));
        }
        if has_aliases {
            return Err(Refusal::bad(
                "network-scoped alias is supported only for containers in user defined networks",
            ));
        }
        Ok(())
    }

    pub(crate) async fn connect(
        self: &Arc<Self>,
        name: &str,
        container: &Arc<Container>,
        mut settings: EndpointSettings,
    ) -> Result<()> {
        let network = self.networks.find(name)?;
        let _alive = container.lifecycle.lock().await;
        let (mode, connected, alive) = {
            let record = container.record();
            (
                record.host.network_mode.clone(),
                record.networks.contains_key(&network.name),
                record.state.is_alive(),
            )
        };
        if network.name == "host" && mode != "host" {
            return Err(Refusal::bad(HOST_NETWORK));
        }
        if mode.starts_with("container:") || (mode == "host" && network.name != "host") {
            return Err(Refusal::bad(
                "container sharing network namespace with another container or host cannot be connected to any other network",
            ));
        }
        let others = container.record().networks.keys().any(|other| *other != network.name);
        let has_none = container.record().networks.contains_key("none");
        if !connected && others && (network.name == "none" || has_none) {
            return Err(Refusal::bad(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode",
            ));
        }
        self.check_endpoint(&network.name, &settings)?;
        if network.net.embedded_dns {
            add_own_name(&container.id, &mut settings);
        }
        if connected && alive {
            return Err(Refusal::forbidden(format!(
                "endpoint with name {} already exists in network {}",
                container.name(),
                network.name
            )));
        }
        settings.network_id.clone_from(&network.id);
        container.record().networks.insert(network.name.clone(), settings);
        if alive {
            let (daemon, own, net) = (self.clone(), container.clone(), network.name.clone());
            let joined = tokio::task::spawn_blocking(move || daemon.join_running(&own, &net)).await;
            let joined = joined.map_err(|e| Refusal::internal(format!("connecting failed: {e}")))?;
            if let Err(refusal) = joined {
                container.record().networks.remove(&network.name);
                return Err(refusal);
            }
            self.start_dns(container)?;
            self.write_files(container)?;
            self.tell_network(&network, "connect", &container.id);
        }
        Ok(container.save(Survive::PowerCut)?)
    }

    pub(crate) async fn disconnect(self: &Arc<Self>, name: &str, container: &Arc<Container>) -> Result<()> {
        let network = self.networks.find(name)?;
        let _alive = container.lifecycle.lock().await;
        let record = container.record().clone();
        if record.host.network() == "host" && network.name == "host" {
            return Err(Refusal::bad(HOST_NETWORK));
        }
        if !record.networks.contains_key(&network.name) {
            // Two places of Docker's say it, one with an article.
            let the = if record.state.is_alive() { "" } else { "the " };
            return Err(Refusal::internal(format!(
                "container {} is not connected to {the}network {}",
                container.id, network.name
            )));
        }
        if record.state.is_alive() {
            let (daemon, own, net) = (self.clone(), container.clone(), network.clone());
            let left = tokio::task::spawn_blocking(move || daemon.leave_running(&own, &net)).await;
            left.map_err(|e| Refusal::internal(format!("disconnecting failed: {e}")))??;
        }
        container.record().networks.remove(&network.name);
        if record.state.is_alive() {
            self.write_files(container)?;
            self.tell_network(&network, "disconnect", &container.id);
        }
        Ok(container.save(Survive::PowerCut)?)
    }

    /// Nothing of it stays in networks once a container is gone.
    pub(crate) fn forget_endpoints(&self, container: &Container) {
        let endpoints = std::mem::take(&mut container.record().endpoints);
        for endpoint in endpoints {
            self.give_back_address(&endpoint.network, &endpoint.id);
        }
    }

    /// Names are looked up when they are asked for; hosts files of linked containers know the old one.
    pub(crate) fn renamed_in_networks(&self, container: &Container) {
        self.refresh_linked(container);
    }

    /// The containers with an endpoint in a network.
    pub(crate) fn members(&self, network: &str) -> Vec<Arc<Container>> {
        let all = self.containers.all().into_iter();
        all.filter(|c| {
            c.record().networks.values().any(|s| s.network_id == network && !s.endpoint_id.is_empty())
        })
        .collect()
    }
}
