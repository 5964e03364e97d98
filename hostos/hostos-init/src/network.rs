//! Brings the network up: loopback, then DHCP on every physical link, the first lease being enough
//! to go on.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use hostos_net::dhcp::{self, DhcpError};
use hostos_net::{Lease, LeaseStore, Link, Links, NetworkError, resolver};
use tokio::task::JoinSet;
use tracing::{info, warn};

/// How long the first lease may take.
const FIRST_LEASE: Duration = Duration::from_secs(30);

/// Where leases are kept over reboots.
const LEASES: &str = "/var/lib/hostos/leases";

/// Where everything on the machine looks for name servers.
const RESOLV_CONF: &str = "/run/resolv.conf";

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkUpError {
    #[error(transparent)]
    Links(#[from] NetworkError),
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    #[error("there is no network interface")]
    NoLink,
    #[error("cannot write {RESOLV_CONF}")]
    Resolver(#[source] io::Error),
}

/// A network that has an address, and keeps it as long as this value lives.
pub(crate) struct Network {
    pub(crate) link: Link,
    pub(crate) lease: Lease,
    _keepers: JoinSet<()>,
}

/// Has a lease on one link at least when it returns; the others follow in the background.
pub(crate) async fn bring_up() -> Result<Network, NetworkUpError> {
    let links = Links::connect()?;
    let all = links.list().await?;
    if let Some(loopback) = all.iter().find(|link| link.name == "lo") {
        links.set_up(loopback).await?;
    }
    let physical: Vec<_> = all.into_iter().filter(|link| link.physical).collect();
    let mut first = JoinSet::new();
    for link in physical {
        links.set_up(&link).await?;
        first.spawn(async move {
            let store = LeaseStore::new(Path::new(LEASES));
            let lease = dhcp::acquire(&link, store.load(&link.name).as_ref(), FIRST_LEASE).await;
            (link, lease)
        });
    }
    let mut problem = NetworkUpError::NoLink;
    while let Some(joined) = first.join_next().await {
        match joined {
            Ok((link, Ok(lease))) => return start(links, link, lease, first).await,
            Ok((_, Err(error))) => problem = error.into(),
            Err(_) => {}
        }
    }
    Err(problem)
}

async fn start(
    links: Links,
    link: Link,
    lease: Lease,
    mut others: JoinSet<(Link, Result<Lease, DhcpError>)>,
) -> Result<Network, NetworkUpError> {
    links.apply(&link, &lease).await?;
    write_resolver(&lease).map_err(NetworkUpError::Resolver)?;
    let mut keepers = JoinSet::new();
    keepers.spawn(hold(link.clone(), lease.clone()));
    let network = (link.clone(), lease.clone());
    keepers.spawn(async move {
        let mut holders = JoinSet::new();
        while let Some(joined) = others.join_next().await {
            let Ok((link, Ok(lease))) = joined else { continue };
            match links.apply(&link, &lease).await {
                Ok(()) => drop(holders.spawn(hold(link, lease))),
                Err(error) => warn!(link = link.name, %error, "lease not applied"),
            }
        }
        while holders.join_next().await.is_some() {}
    });
    Ok(Network { link: network.0, lease: network.1, _keepers: keepers })
}

/// Renews the lease of one link for ever.
async fn hold(link: Link, mut lease: Lease) {
    loop {
        if let Err(error) = LeaseStore::new(Path::new(LEASES)).save(&link.name, &lease) {
            warn!(link = link.name, %error, "lease not kept for the next boot");
        }
        let fresh = dhcp::keep(&link, &lease).await;
        if fresh.address != lease.address || fresh.router != lease.router {
            let applied = match Links::connect() {
                Ok(links) => links.apply(&link, &fresh).await,
                Err(error) => Err(error),
            };
            match applied {
                Ok(()) => info!(link = link.name, address = %fresh.address, "address changed"),
                Err(error) => warn!(link = link.name, %error, "new lease not applied"),
            }
        }
        lease = fresh;
    }
}

fn write_resolver(lease: &Lease) -> io::Result<()> {
    let servers: Vec<_> = lease.dns.iter().copied().map(IpAddr::V4).collect();
    resolver::write(Path::new(RESOLV_CONF), &resolver::text(&servers, lease.domain.as_deref()))
}

/// Writes the two addresses that units of clusters read from /etc/environment, keeping other lines.
pub(crate) fn write_environment(private: IpAddr) -> io::Result<()> {
    let path = Path::new("/etc/environment");
    let old = fs::read_to_string(path).unwrap_or_default();
    let mut text = String::new();
    for name in ["COREOS_PRIVATE_IPV4", "COREOS_PUBLIC_IPV4"] {
        if !old.lines().any(|line| line.starts_with(&format!("{name}="))) {
            text.push_str(&format!("{name}={private}\n"));
        }
    }
    fs::write(path, old + &text)
}
