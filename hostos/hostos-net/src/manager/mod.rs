//! Brings a machine's network up as its `.network` files declare, and keeps it so.
//!
//! A link that no file is for asks for an address, if it is made of hardware. Each link has a task of
//! its own, which never gives up: a server that is away comes back, a cable is plugged in again.

mod learned;
mod link;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use crate::configuration::Configuration;
use crate::dhcp::DhcpError;
use crate::file::NetworkFile;
use crate::links::{Link, Links, NetworkError};

use self::learned::Learned;

/// How much longer a lease is waited for once a router has given an address of IPv6.
const LEASE_AFTER_IPV6: Duration = Duration::from_secs(10);

/// Files that the network keeps.
#[derive(Clone, Debug)]
pub struct Places {
    /// Leases, over reboots.
    pub leases: PathBuf,
    /// Where everything on the machine looks for name servers.
    pub resolv_conf: PathBuf,
}

impl Places {
    /// Those of a machine.
    #[must_use]
    pub fn machine() -> Self {
        Self { leases: "/var/lib/hostos/leases".into(), resolv_conf: "/run/resolv.conf".into() }
    }
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkUpError {
    /// The kernel.
    #[error(transparent)]
    Links(#[from] NetworkError),
    /// A link that asked for an address in vain, and no other has one.
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    /// Nothing to make a network of.
    #[error("there is no network interface")]
    NoLink,
    /// A cable.
    #[error("no link is connected: {0}")]
    NoCarrier(String),
    /// Time is up.
    #[error("no link got an address within {} s", .0.as_secs())]
    TooLate(Duration),
}

/// A link that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Online {
    /// Its name.
    pub link: String,
    /// Its address.
    pub address: IpAddr,
    /// Bits of its network's prefix.
    pub prefix: u8,
}

/// What a link's task says.
pub(crate) enum News {
    Online(Online),
    /// It has none, and goes on trying.
    Problem(NetworkUpError),
}

/// A network, kept up as long as this value lives.
#[derive(Debug)]
pub struct Network {
    online: Option<Online>,
    learned: Arc<Learned>,
    _tasks: JoinSet<()>,
}

impl Network {
    /// Has an address on one link at least when it returns, unless no link has to have one; the others
    /// follow in the background. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// No link that must have an address got one within `limit`.
    pub async fn bring_up(
        configuration: &Configuration,
        places: &Places,
        limit: Duration,
    ) -> Result<Self, NetworkUpError> {
        let end = Instant::now() + limit;
        let links = Links::connect()?;
        let all = links.list().await?;
        if let Some(loopback) = all.iter().find(|link| link.name == "lo") {
            links.set_up(loopback).await?;
        }
        let managed: Vec<(Link, NetworkFile)> =
            all.into_iter().filter_map(|link| plan(configuration, link)).collect();
        let learned = Arc::new(Learned::new(places.clone()));
        let (tell, mut news) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        let mut hopes = managed.iter().filter(|(_, file)| !file.unmanaged && file.required).count();
        let none = managed.is_empty();
        let leased: BTreeSet<String> =
            managed.iter().filter(|(_, file)| file.dhcp4).map(|(link, _)| link.name.clone()).collect();
        let mut fallback: Option<Online> = None;
        for (link, file) in managed {
            if file.unmanaged {
                continue;
            }
            info!(link = link.name, file = file.name, "link is configured");
            tasks.spawn(link::run(link, file, learned.clone(), places.clone(), tell.clone()));
        }
        drop(tell);
        let mut network = Self { online: None, learned, _tasks: tasks };
        if none {
            return Err(NetworkUpError::NoLink);
        }
        let mut problem = None;
        let mut end = end;
        while hopes > 0 && network.online.is_none() {
            match timeout_at(end, news.recv()).await {
                // Where a lease may still come, IPv6 alone is only better than nothing.
                Ok(Some(News::Online(online)))
                    if online.address.is_ipv6() && leased.contains(&online.link) =>
                {
                    end = end.min(Instant::now() + LEASE_AFTER_IPV6);
                    fallback.get_or_insert(online);
                }
                Ok(Some(News::Online(online))) => network.online = Some(online),
                Ok(Some(News::Problem(error))) => {
                    hopes -= 1;
                    problem = Some(error);
                }
                Ok(None) => break,
                Err(_) if fallback.is_some() => break,
                Err(_) => return Err(problem.unwrap_or(NetworkUpError::TooLate(limit))),
            }
        }
        network.online = network.online.or(fallback);
        // Whoever still has news tells nobody; that is no reason for its task to wait.
        drop(news);
        match problem {
            Some(error) if network.online.is_none() => Err(error),
            _ => Ok(network),
        }
    }

    /// The link that had an address first; nothing if none must have one.
    #[must_use]
    pub fn online(&self) -> Option<&Online> {
        self.online.as_ref()
    }

    /// Time servers that the files and the network name, the files' first.
    #[must_use]
    pub fn time_servers(&self) -> Vec<String> {
        self.learned.time_servers()
    }

    /// Says them to others than the owner of the network.
    pub fn ask_time_servers(&self) -> impl Fn() -> Vec<String> + Send + 'static {
        let learned = self.learned.clone();
        move || learned.time_servers()
    }

    /// The name that a server gives the machine.
    #[must_use]
    pub fn hostname(&self) -> Option<String> {
        self.learned.hostname()
    }
}

/// What becomes of a link; nothing if it is none of ours.
fn plan(configuration: &Configuration, link: Link) -> Option<(Link, NetworkFile)> {
    if link.name == "lo" {
        return None;
    }
    match configuration.find(&link) {
        // What software makes is software's, unless a file means just that.
        Some(file) if link.physical || !file.matching.is_for_all() => Some((link, file.clone())),
        None if link.physical => Some((link, NetworkFile::automatic())),
        _ => None,
    }
}
