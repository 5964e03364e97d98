//! The life of one link: shaped, up, addresses, routes, a lease that is renewed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::packet_route::route::RouteProtocol;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::learned::{Facts, Learned, Source};
use super::{NetworkUpError, News, Online, Places};
use crate::dhcp;
use crate::file::{NetworkFile, StaticRoute};
use crate::links::{Link, Links, NetworkError};
use crate::ra::Listener;
use crate::routes::greet;
use crate::{Lease, LeaseStore};

/// How long a cable may take.
const CARRIER: Duration = Duration::from_secs(10);
/// How long a server may take before the last lease, or nothing, has to do.
const LEASE: Duration = Duration::from_secs(30);
/// The same while a lease of the boot before still holds.
const LEASE_KNOWN: Duration = Duration::from_secs(8);
const BETWEEN_TRIES: Duration = Duration::from_secs(10);

/// One link and what is to become of it.
struct Managed {
    links: Links,
    link: Link,
    file: NetworkFile,
    learned: Arc<Learned>,
    leases: LeaseStore,
    tell: mpsc::Sender<News>,
}

/// Runs for ever.
pub(super) async fn run(
    link: Link,
    file: NetworkFile,
    learned: Arc<Learned>,
    places: Places,
    tell: mpsc::Sender<News>,
) {
    let links = match Links::connect() {
        Ok(links) => links,
        Err(error) => return drop(tell.send(News::Problem(error.into())).await),
    };
    let leases = LeaseStore::new(&places.leases);
    let mut managed = Managed { links, link, file, learned, leases, tell };
    // Before the link is up, so that the first advertisement is heard.
    let routers = if managed.listens() { Listener::open(&managed.link.name).ok() } else { None };
    if let Err(error) = managed.prepare().await {
        warn!(link = managed.link.name, %error, "link not prepared");
        managed.say(News::Problem(error.into())).await;
        return;
    }
    if !managed.wait_for_carrier().await {
        managed.say(News::Problem(NetworkUpError::NoCarrier(managed.link.name.clone()))).await;
        // A cable that is plugged in later is as good.
        while !managed.wait_for_carrier().await {}
    }
    let managed = managed;
    tokio::join!(managed.declared(), managed.leased(), managed.routed(routers));
}

impl Managed {
    fn listens(&self) -> bool {
        self.file.ra_dns && self.file.accept_ra != Some(false)
    }

    /// Nobody may be listening any more.
    async fn say(&self, news: News) {
        let _ = self.tell.send(news).await;
    }

    async fn online(&self, address: IpAddr, prefix: u8) {
        let link = self.link.name.clone();
        self.say(News::Online(Online { link, address, prefix })).await;
    }

    async fn prepare(&mut self) -> Result<(), NetworkError> {
        let ipv6 = Path::new("/proc/sys/net/ipv6/conf").join(&self.link.name);
        let mut settings = vec![("addr_gen_mode", if self.file.link_local { "0" } else { "1" })];
        match self.file.accept_ra {
            // Also when the machine forwards packets for its containers.
            Some(true) => settings.push(("accept_ra", "2")),
            Some(false) => settings.push(("accept_ra", "0")),
            None => {}
        }
        for (name, value) in settings {
            // A kernel without IPv6 has none of these.
            if let Err(error) = fs::write(ipv6.join(name), value) {
                tracing::debug!(link = self.link.name, name, %error, "not set");
            }
        }
        self.links.reshape(&self.link, self.file.mac.as_deref(), self.file.mtu).await?;
        if let Some(mac) = &self.file.mac {
            self.link.mac.clone_from(mac);
        }
        // What an earlier configuration left.
        self.links.remove_routes(&self.link).await?;
        if !self.file.dhcp4 {
            self.links.remove_other_ipv4(&self.link, &self.static_ipv4()).await?;
        }
        self.links.set_up(&self.link).await
    }

    async fn wait_for_carrier(&self) -> bool {
        self.links.wait_for_carrier(&self.link, CARRIER).await.unwrap_or(false)
    }

    fn static_ipv4(&self) -> Vec<Ipv4Addr> {
        let addresses = self.file.addresses.iter().map(|address| address.prefix.address);
        addresses
            .filter_map(|address| match address {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            })
            .collect()
    }

    /// What the file declares, whoever else says what.
    async fn declared(&self) {
        let file = &self.file;
        let facts = Facts {
            dns: file.dns.clone(),
            domains: file.domains.clone(),
            ntp: file.ntp.clone(),
            hostname: None,
        };
        if facts != Facts::default() {
            self.learned.note(Source::File, &self.link.name, facts);
        }
        let mut first = None;
        for address in &file.addresses {
            let prefix = address.prefix;
            match self.links.add_static_address(&self.link, address).await {
                Ok(()) => first = first.or(Some(prefix)),
                Err(error) => warn!(link = self.link.name, %error, "address not set"),
            }
        }
        for route in &file.routes {
            let metric = 100 + self.link.index;
            if let Err(error) = self.links.add_route(&self.link, route, metric, RouteProtocol::Static).await {
                warn!(link = self.link.name, %error, "route not set");
            }
        }
        if let Some(prefix) = first {
            let router =
                file.routes.iter().find(|route| route.destination.is_none()).and_then(|it| it.gateway);
            if let Some(router) = router {
                greet(prefix.address, router);
            }
            self.online(prefix.address, prefix.bits).await;
        } else if !file.dhcp4 && file.accept_ra == Some(false) {
            // A link without any address is as online as it will be.
            self.online(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).await;
        }
    }

    /// A lease, for ever.
    async fn leased(&self) {
        if !self.file.dhcp4 {
            return;
        }
        let name = self.name();
        let name = name.as_deref();
        let mut lease = loop {
            let known = self.leases.load(&self.link.name);
            let holds = known.as_ref().is_some_and(|lease| lease.holds_at(dhcp::now()));
            let limit = if holds { LEASE_KNOWN } else { LEASE };
            match (dhcp::acquire(&self.link, known.as_ref(), name, limit).await, known) {
                (Ok(lease), _) => break lease,
                (Err(error), Some(known)) if holds => {
                    warn!(link = self.link.name, %error, address = %known.address, "the last lease still holds");
                    break known;
                }
                (Err(error), _) => {
                    warn!(link = self.link.name, %error, "no lease yet");
                    self.say(News::Problem(error.into())).await;
                    sleep(BETWEEN_TRIES).await;
                }
            }
        };
        loop {
            match self.apply(&lease).await {
                Ok(()) => self.online(IpAddr::V4(lease.address), lease.prefix).await,
                Err(error) => {
                    warn!(link = self.link.name, %error, "lease not applied");
                    self.say(News::Problem(error.into())).await;
                }
            }
            if let Err(error) = self.leases.save(&self.link.name, &lease) {
                warn!(link = self.link.name, %error, "lease not kept for the next boot");
            }
            let age = lease.age_at(dhcp::now()).min(lease.duration);
            let fresh = dhcp::keep(&self.link, &lease, age, name).await;
            if fresh.address != lease.address {
                info!(link = self.link.name, address = %fresh.address, "address changed");
            }
            lease = fresh;
        }
    }

    fn name(&self) -> Option<String> {
        let dhcp = &self.file.dhcp;
        let own = || {
            let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
            // What every machine is called before it has a name says nothing.
            (!["", "localhost", "(none)"].contains(&name.as_str()) && crate::is_name(&name)).then_some(name)
        };
        if dhcp.send_hostname { dhcp.hostname.clone().or_else(own) } else { None }
    }

    async fn apply(&self, lease: &Lease) -> Result<(), NetworkError> {
        let dhcp = &self.file.dhcp;
        let address = IpAddr::V4(lease.address);
        self.links.add_address(&self.link, address, lease.prefix).await?;
        let mut keep = self.static_ipv4();
        keep.push(lease.address);
        self.links.remove_other_ipv4(&self.link, &keep).await?;
        if let Some(mtu) = lease.mtu.filter(|mtu| dhcp.use_mtu && *mtu >= 576) {
            self.links.reshape(&self.link, None, Some(mtu.into())).await?;
        }
        let router = lease.router.filter(|_| dhcp.use_routes).map(IpAddr::V4);
        if let Some(router) = router {
            let route = StaticRoute { source: Some(address), ..StaticRoute::default_through(router) };
            let metric = dhcp.route_metric.unwrap_or(100 + self.link.index);
            // A router outside of the network is reached all the same: clouds hand out /32.
            let route = StaticRoute { on_link: lease.prefix == 32, ..route };
            self.links.add_route(&self.link, &route, metric, RouteProtocol::Dhcp).await?;
            greet(address, router);
        }
        let facts = Facts {
            dns: lease.dns.iter().filter(|_| dhcp.use_dns).copied().map(IpAddr::V4).collect(),
            domains: lease.domain.iter().filter(|_| dhcp.use_domains).cloned().collect(),
            ntp: lease.ntp.iter().filter(|_| dhcp.use_ntp).map(ToString::to_string).collect(),
            hostname: lease.hostname.clone().filter(|_| dhcp.use_hostname),
        };
        self.learned.note(Source::Dhcp, &self.link.name, facts);
        Ok(())
    }

    /// What routers say: the kernel takes an address from them, and names are taken here.
    async fn routed(&self, listener: Option<Listener>) {
        if self.file.accept_ra == Some(false) {
            return;
        }
        let address = async {
            loop {
                if let Ok(Some((address, prefix))) = self.links.global_ipv6(&self.link).await {
                    return self.online(IpAddr::V6(address), prefix).await;
                }
                sleep(Duration::from_millis(250)).await;
            }
        };
        let names = async {
            let Some(listener) = &listener else { return };
            let mut lifetime = Duration::MAX;
            loop {
                let facts = match timeout(lifetime, listener.next()).await {
                    Ok(Ok(names)) => {
                        lifetime = names.lifetime;
                        Facts { dns: names.servers, domains: names.domains, ..Facts::default() }
                    }
                    Ok(Err(error)) => return warn!(link = self.link.name, %error, "routers are not heard"),
                    // What nobody repeats does not hold any more.
                    Err(_) => {
                        lifetime = Duration::MAX;
                        Facts::default()
                    }
                };
                self.learned.note(Source::Router, &self.link.name, facts);
            }
        };
        // An address is looked for only while someone may wait for it.
        let address = timeout(LEASE, address);
        let _ = tokio::join!(address, names);
    }
}
