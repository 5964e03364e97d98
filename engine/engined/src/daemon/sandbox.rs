//! A container's network while it runs: its namespace, addresses, ports, names and files.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine_api::network::EndpointSettings;
use engine_net::files::{self, Resolver};
use engine_net::model::{Endpoint, PublishedPort};
use engine_net::{DnsServer, Netns, bridge, mac_of};
use engine_runtime::spec::{Mount, Namespace};

use super::Daemon;
use super::container::{Container, Record};
use super::error::{Refusal, Result, chain};
use super::networks::NetRecord;
use super::spec::file_mount;
use super::{dns, names, publish};

/// What must be given back when the program ends.
pub(crate) struct Sandbox {
    pub(crate) ns: Netns,
    /// With their networks' names.
    pub(crate) endpoints: Vec<(String, Endpoint)>,
    pub(crate) published: Vec<PublishedPort>,
    dns: Option<DnsServer>,
}

impl Daemon {
    /// Makes the network of a container that is about to start, and the files that tell it about it.
    pub(crate) async fn build_sandbox(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(Namespace, Vec<Mount>)> {
        self.networks.are_up().await;
        let record = container.record().clone();
        let mode = record.host.network().to_owned();
        let net = if mode == "host" {
            Namespace::Host
        } else if let Some(other) = record.host.network_of() {
            return self.share_network(container, other);
        } else if mode == "none" || record.config.network_disabled {
            Namespace::New
        } else {
            let (daemon, own) = (self.clone(), container.clone());
            let path = tokio::task::spawn_blocking(move || daemon.connect_all(&own)).await;
            let path = path.map_err(|e| Refusal::internal(format!("the network failed: {e}")))??;
            self.start_dns(container)?;
            Namespace::Join(path)
        };
        for (name, settings) in &mut container.record().networks {
            if let Ok(network) = self.networks.find(name) {
                settings.network_id = network.id;
                if network.net.embedded_dns {
                    super::connect::add_own_name(&container.id, settings);
                }
            }
        }
        self.write_files(container)?;
        container.record().joined = true;
        self.tell_networks(container, "connect");
        Ok((net, file_mounts(&container.dir, record.host.readonly_rootfs)))
    }

    fn share_network(&self, container: &Container, other: &str) -> Result<(Namespace, Vec<Mount>)> {
        let other = self.containers.find(other)?;
        if other.id == container.id {
            return Err(Refusal::internal("cannot join own network"));
        }
        let program = other.program().filter(|_| other.record().state.is_alive());
        let program = program.ok_or_else(|| {
            Refusal::conflict(format!("cannot join network of a non running container: {}", other.id))
        })?;
        container.record().config.hostname = other.record().config.hostname.clone();
        let readonly = container.record().host.readonly_rootfs;
        Ok((Namespace::Join(program.namespace("net")), file_mounts(&other.dir, readonly)))
    }

    /// Blocking.
    fn connect_all(self: &Arc<Self>, container: &Arc<Container>) -> Result<PathBuf> {
        let path = self.netns_path(&container.id);
        let ns = Netns::create(&path)?;
        let record = container.record().clone();
        let mut sandbox = Sandbox { ns, endpoints: Vec::new(), published: Vec::new(), dns: None };
        let done = self.fill(&mut sandbox, container, &record);
        // Kept also when it failed: what was taken is given back by release_sandbox.
        let keep = {
            let mut record = container.record();
            record.endpoints = sandbox.endpoints.iter().map(|(_, e)| e.clone()).collect();
            record.published = sandbox.published.clone();
            record.sandbox = path.display().to_string();
            sandbox
        };
        *container.network.lock().expect("no code panics holding it") = Some(keep);
        done?;
        self.apply_firewall()?;
        Ok(path)
    }

    fn fill(&self, sandbox: &mut Sandbox, container: &Container, record: &Record) -> Result<()> {
        let mode = self.network_name(record.host.network());
        let mut order: Vec<&String> = record.networks.keys().collect();
        // The network of --network comes first: it is eth0 and has the default route.
        order.sort_by_key(|name| (name.as_str() != mode, name.as_str()));
        for (number, name) in order.into_iter().enumerate() {
            let endpoint =
                self.join_network(sandbox, container, name, &format!("eth{number}"), number == 0)?;
            sandbox.endpoints.push((name.clone(), endpoint));
        }
        let Some((first, endpoint)) = sandbox.endpoints.first() else { return Ok(()) };
        let network = self.networks.find(first)?;
        if let Some(address) = endpoint.address.filter(|_| !network.internal) {
            publish::reserve(&self.networks.ports, record, &network.net, address, &mut sandbox.published)?;
        }
        container.record().ports = publish::shown(&sandbox.published);
        Ok(())
    }

    /// Gives the container an address and an interface in a network.
    fn join_network(
        &self,
        sandbox: &Sandbox,
        container: &Container,
        name: &str,
        interface: &str,
        first: bool,
    ) -> Result<Endpoint> {
        let settings = container.record().networks.get(name).cloned().unwrap_or_default();
        let id = names::new_id();
        let (network, address) = self.take_address(name, &id, &settings)?;
        let endpoint = Endpoint {
            id: id.clone(),
            network: network.id.clone(),
            container: container.id.clone(),
            address: Some(address),
            prefix: network.net.pool.subnet.prefix(),
            gateway: network.net.pool.gateway,
            mac: if settings.mac_address.is_empty() { mac_of(address) } else { settings.mac_address.clone() },
            host_interface: format!("veth{}", &id[..7]),
            interface: interface.to_owned(),
        };
        let default_route = first && !network.internal;
        let connected = sandbox.ns.connect(&endpoint, &network.net, default_route).or_else(|error| {
            // Somebody may have taken the bridge away.
            bridge::ensure(&network.net)?;
            tracing::debug!(error = %chain(&error), "connecting once more");
            sandbox.ns.connect(&endpoint, &network.net, default_route)
        });
        if let Err(error) = connected {
            self.give_back_address(&network.id, &id);
            return Err(error.into());
        }
        if let Some(shown) = container.record().networks.get_mut(name) {
            fill_settings(shown, &network, &endpoint);
        }
        Ok(endpoint)
    }

    /// Connects a container that runs. Blocking.
    pub(crate) fn join_running(&self, container: &Container, name: &str) -> Result<()> {
        let mut slot = container.network.lock().expect("no code panics holding it");
        let sandbox =
            slot.as_mut().ok_or_else(|| Refusal::internal("the container has no network of its own"))?;
        let interface = sandbox.ns.free_interface()?;
        let first = sandbox.endpoints.is_empty();
        let endpoint = self.join_network(sandbox, container, name, &interface, first)?;
        container.record().endpoints.push(endpoint.clone());
        sandbox.endpoints.push((name.to_owned(), endpoint));
        Ok(())
    }

    /// Takes a container that runs off a network; its default route moves on. Blocking.
    pub(crate) fn leave_running(&self, container: &Container, network: &NetRecord) -> Result<()> {
        let mut slot = container.network.lock().expect("no code panics holding it");
        let Some(sandbox) = slot.as_mut() else { return Ok(()) };
        let Some(place) = sandbox.endpoints.iter().position(|(_, e)| e.network == network.id) else {
            return Ok(());
        };
        let (_, endpoint) = sandbox.endpoints.remove(place);
        sandbox.ns.disconnect(&endpoint)?;
        container.record().endpoints.retain(|e| e.id != endpoint.id);
        self.give_back_address(&network.id, &endpoint.id);
        if place == 0 {
            let next = sandbox.endpoints.first().and_then(|(_, e)| e.gateway);
            sandbox.ns.set_default_route(next)?;
        }
        let gone = |p: &PublishedPort| Some(p.container_ip) == endpoint.address;
        for port in sandbox.published.iter().filter(|p| gone(p)) {
            self.networks.ports.release(port.protocol, port.host_ip, port.host_port);
        }
        sandbox.published.retain(|p| !gone(p));
        {
            let mut record = container.record();
            record.published.clone_from(&sandbox.published);
            record.ports = publish::shown(&sandbox.published);
        }
        drop(slot);
        self.apply_firewall()
    }

    fn take_address(
        &self,
        name: &str,
        owner: &str,
        settings: &EndpointSettings,
    ) -> Result<(NetRecord, Ipv4Addr)> {
        let wanted = settings.ipam_config.as_ref().map(|i| i.ipv4_address.as_str()).filter(|a| !a.is_empty());
        let wanted = wanted
            .map(|a| a.parse::<Ipv4Addr>().map_err(|_| Refusal::bad(format!("invalid IPv4 address: {a}"))))
            .transpose()?;
        let id = self.networks.find(name)?.id;
        let mut all = self.networks.all();
        let network =
            all.get_mut(&id).ok_or_else(|| Refusal::missing(format!("network {name} not found")))?;
        let address = network.net.pool.allocate(owner, wanted)?;
        Ok((network.clone(), address))
    }

    pub(crate) fn give_back_address(&self, network: &str, owner: &str) {
        if let Some(network) = self.networks.all().get_mut(network) {
            network.net.pool.release_owner(owner);
        }
    }

    /// Containers on networks of users ask the engine for names.
    pub(crate) fn start_dns(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let mut slot = container.network.lock().expect("no code panics holding it");
        let Some(sandbox) = slot.as_mut().filter(|s| s.dns.is_none()) else { return Ok(()) };
        let embedded = sandbox
            .endpoints
            .iter()
            .any(|(name, _)| self.networks.find(name).is_ok_and(|n| n.net.embedded_dns));
        if embedded {
            let names = Arc::new(dns::ContainerNames::new(self, container));
            sandbox.dns = Some(DnsServer::start(&sandbox.ns, names)?);
        }
        Ok(())
    }

    fn tell_networks(&self, container: &Container, action: &str) {
        let networks: Vec<String> = container.record().networks.keys().cloned().collect();
        for name in networks {
            if let Ok(network) = self.networks.find(&name) {
                self.tell_network(&network, action, &container.id);
            }
        }
    }

    pub(crate) fn tell_network(&self, network: &NetRecord, action: &str, container: &str) {
        let mut attributes =
            super::events::attributes([("name", network.name.as_str()), ("type", network.driver.as_str())]);
        if !container.is_empty() {
            attributes.insert("container".into(), container.to_owned());
        }
        self.events.tell("network", action, &network.id, attributes);
    }

    /// The firewall as all networks and running containers want it.
    pub(crate) fn apply_firewall(&self) -> Result<()> {
        if !self.config.firewall {
            return Ok(());
        }
        Ok(self.networks.firewall.apply(&self.firewall_rules())?)
    }

    pub(crate) async fn network_ready(
        &self,
        container: &Container,
        _program: &engine_runtime::Container,
    ) -> Result<()> {
        self.refresh_linked(container);
        Ok(())
    }

    /// Finds the network of a container that ran on without the engine.
    pub(crate) async fn adopt_sandbox(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        let record = container.record().clone();
        if record.sandbox.is_empty() {
            return Ok(());
        }
        let ns = Netns::open(Path::new(&record.sandbox))?;
        let mut endpoints = Vec::new();
        for endpoint in &record.endpoints {
            let mut all = self.networks.all();
            let Some(network) = all.get_mut(&endpoint.network) else { continue };
            // An address that is taken twice would be a broken state file; the container has it anyway.
            let _ = network.net.pool.allocate(&endpoint.id, endpoint.address);
            endpoints.push((network.name.clone(), endpoint.clone()));
        }
        for port in &record.published {
            if let Err(error) = self.networks.ports.reserve(
                port.protocol,
                port.host_ip,
                Some(port.host_port..=port.host_port),
            ) {
                tracing::warn!(container = %container.id, error = %chain(&error), "could not take the published port again");
            }
        }
        let sandbox = Sandbox { ns, endpoints, published: record.published, dns: None };
        *container.network.lock().expect("no code panics holding it") = Some(sandbox);
        self.start_dns(container)
    }

    /// Gives everything back. The namespace goes with its last process; the kernel takes its interfaces along.
    pub(crate) async fn release_sandbox(&self, container: &Container) {
        let sandbox = container.network.lock().expect("no code panics holding it").take();
        let (path, endpoints, published) = {
            let mut record = container.record();
            for settings in record.networks.values_mut() {
                clear_settings(settings);
            }
            record.ports.clear();
            let sandbox = std::mem::take(&mut record.sandbox);
            (sandbox, std::mem::take(&mut record.endpoints), std::mem::take(&mut record.published))
        };
        for endpoint in &endpoints {
            self.give_back_address(&endpoint.network, &endpoint.id);
        }
        for port in &published {
            self.networks.ports.release(port.protocol, port.host_ip, port.host_port);
        }
        drop(sandbox);
        if !path.is_empty() {
            if let Err(error) = Netns::remove(Path::new(&path)) {
                tracing::warn!(container = %container.id, %error, "could not remove the network namespace");
            }
            if !published.is_empty()
                && let Err(error) = self.apply_firewall()
            {
                tracing::error!(%error, "could not update the firewall");
            }
        }
        if std::mem::take(&mut container.record().joined) {
            self.tell_networks(container, "disconnect");
        }
    }

    fn netns_path(&self, id: &str) -> PathBuf {
        self.config.exec_root.join("netns").join(names::short(id))
    }

    /// hosts, hostname and resolv.conf. Written in place, because running containers have them mounted.
    pub(crate) fn write_files(&self, container: &Container) -> Result<()> {
        let record = container.record().clone();
        let host_mode = record.host.network() == "host";
        let resolver = self.resolver(&record);
        let embedded =
            record.networks.keys().any(|n| self.networks.find(n).is_ok_and(|n| n.net.embedded_dns));
        let resolv = match () {
            () if embedded => resolver.embedded_text(),
            () if host_mode => resolver.host_text(),
            () => resolver.text(),
        };
        let hosts = match host_mode {
            true => {
                std::fs::read_to_string("/etc/hosts").unwrap_or_else(|_| files::hosts(&[]))
                    + &extra_lines(&record, self)
            }
            false => files::hosts(&self.host_entries(container, &record)),
        };
        let write = |name: &str, text: &str| std::fs::write(container.dir.join(name), text);
        write("resolv.conf", &resolv)?;
        write("hosts", &hosts)?;
        Ok(write("hostname", &files::hostname(&record.config.hostname))?)
    }

    pub(crate) fn resolver(&self, record: &Record) -> Resolver {
        let host = Resolver::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        let ips = |list: &[String]| -> Vec<IpAddr> { list.iter().filter_map(|s| s.parse().ok()).collect() };
        let pick = |own: &Option<Vec<String>>, daemon: &[String]| -> Vec<String> {
            own.clone().filter(|l| !l.is_empty()).unwrap_or_else(|| daemon.to_vec())
        };
        host.overridden(
            &ips(&pick(&record.host.dns, &self.config.dns)),
            &pick(&record.host.dns_search, &self.config.dns_search),
            &pick(&record.host.dns_options, &self.config.dns_options),
        )
    }

    fn host_entries(&self, container: &Container, record: &Record) -> Vec<(String, String)> {
        let mut entries = Vec::new();
        for extra in record.host.extra_hosts.iter().flatten() {
            entries.extend(self.extra_host(extra));
        }
        for link in self.links(record) {
            entries.push((link.address.to_string(), link.names()));
        }
        let name = match record.config.domainname.as_str() {
            // A name with dots is known by its first word too.
            "" => match record.config.hostname.split_once('.') {
                Some((first, _)) => format!("{} {first}", record.config.hostname),
                None => record.config.hostname.clone(),
            },
            domain => format!("{0}.{domain} {0}", record.config.hostname),
        };
        let sandbox = container.network.lock().expect("no code panics holding it");
        let own = sandbox.iter().flat_map(|s| &s.endpoints).filter_map(|(_, e)| e.address);
        entries.extend(own.map(|a| (a.to_string(), name.clone())));
        entries
    }

    /// `name:address`, where the address may be `host-gateway`.
    fn extra_host(&self, text: &str) -> Option<(String, String)> {
        let (name, address) = text.split_once([':', '='])?;
        if address != "host-gateway" {
            return Some((address.to_owned(), name.to_owned()));
        }
        let gateway = self.config.host_gateway.or_else(|| {
            let bridge = self.networks.find("bridge").ok()?;
            bridge.net.pool.gateway.map(IpAddr::V4)
        })?;
        Some((gateway.to_string(), name.to_owned()))
    }
}

fn extra_lines(record: &Record, daemon: &Daemon) -> String {
    let extra = record.host.extra_hosts.iter().flatten().filter_map(|e| daemon.extra_host(e));
    extra.map(|(address, name)| format!("{address}\t{name}\n")).collect()
}

fn file_mounts(dir: &Path, readonly: bool) -> Vec<Mount> {
    ["resolv.conf", "hostname", "hosts"]
        .map(|name| file_mount(&dir.join(name), &format!("/etc/{name}"), readonly))
        .into()
}

pub(crate) fn fill_settings(shown: &mut EndpointSettings, network: &NetRecord, endpoint: &Endpoint) {
    let text = |a: Option<Ipv4Addr>| a.map(|a| a.to_string()).unwrap_or_default();
    shown.network_id.clone_from(&network.id);
    shown.endpoint_id.clone_from(&endpoint.id);
    shown.ip_address = text(endpoint.address);
    shown.ip_prefix_len = endpoint.prefix;
    shown.gateway = if network.internal { String::new() } else { text(endpoint.gateway) };
    shown.mac_address.clone_from(&endpoint.mac);
}

fn clear_settings(shown: &mut EndpointSettings) {
    shown.endpoint_id.clear();
    shown.ip_address.clear();
    shown.ip_prefix_len = 0;
    shown.gateway.clear();
    shown.mac_address.clear();
}
