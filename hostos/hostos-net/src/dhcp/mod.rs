//! A DHCPv4 client (RFC 2131): it asks for the last address it knows, else discovers one, and keeps
//! it by renewing.
//!
//! [`message`] turns packets into values and back; [`acquire`] and [`keep`] do the talking. Answers
//! are asked for as broadcasts, so a plain UDP socket on the interface is enough.

pub mod message;
mod socket;

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use self::message::{Kind, Message, Request};
use self::socket::Socket;
use crate::{Lease, Link};

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// The socket.
    #[error("cannot use the DHCP port on {link}")]
    Socket {
        /// The interface.
        link: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody answers.
    #[error("no DHCP server answered on {link} within {} s", limit.as_secs())]
    NoAnswer {
        /// The interface.
        link: String,
        /// How long it was tried.
        limit: Duration,
    },
}

/// A lease for `link` within `limit`, the address of `known` if the server agrees. The server is told
/// that the machine is called `name`.
pub async fn acquire(
    link: &Link,
    known: Option<&Lease>,
    name: Option<&str>,
    limit: Duration,
) -> Result<Lease, DhcpError> {
    let end = Instant::now() + limit;
    let socket = open(link, Ipv4Addr::UNSPECIFIED)?;
    if let Some(lease) = known {
        let short = end.min(Instant::now() + Duration::from_secs(2));
        let again = Request::reboot(&link.mac, lease.address).named(name);
        if let Some(Answer::Granted(lease)) = exchange(&socket, &again, short).await {
            return Ok(lease);
        }
    }
    let no_answer = || DhcpError::NoAnswer { link: link.name.clone(), limit };
    while Instant::now() < end {
        let discover = Request::discover(&link.mac).named(name);
        let Some(Answer::Offered { address, server }) = exchange(&socket, &discover, end).await else {
            break;
        };
        let select = Request::select(&link.mac, discover.transaction, address, server).named(name);
        let short = end.min(Instant::now() + Duration::from_secs(4));
        if let Some(Answer::Granted(lease)) = exchange(&socket, &select, short).await {
            return Ok(lease);
        }
    }
    Err(no_answer())
}

/// Waits for the time to renew and renews, for as long as it takes. `age` says how old the lease is
/// already.
///
/// Returns the new lease, which may be of another address; the caller applies it and calls again. A
/// lease that runs out is kept in use: a network without an address helps nobody, and the server may
/// only be away.
pub async fn keep(link: &Link, lease: &Lease, age: Duration, name: Option<&str>) -> Lease {
    let begun = Instant::now();
    sleep(lease.renew_after.saturating_sub(age)).await;
    loop {
        let now = age + begun.elapsed();
        let result = if now < lease.rebind_after {
            renew(link, lease, name).await
        } else {
            rebind(link, lease, name).await
        };
        match result {
            Ok(fresh) => {
                info!(link = link.name, address = %fresh.address, "lease renewed");
                return fresh;
            }
            Err(error) => warn!(link = link.name, %error, "lease not renewed yet"),
        }
        let left = lease.duration.saturating_sub(age + begun.elapsed());
        sleep((left / 4).clamp(Duration::from_secs(10), Duration::from_secs(600))).await;
    }
}

/// Asks the server that granted it.
async fn renew(link: &Link, lease: &Lease, name: Option<&str>) -> Result<Lease, DhcpError> {
    let socket = open(link, lease.address)?;
    let request = Request::renew(&link.mac, lease.address, lease.server).named(name);
    let limit = Duration::from_secs(10);
    match exchange(&socket, &request, Instant::now() + limit).await {
        Some(Answer::Granted(fresh)) => Ok(fresh),
        _ => Err(DhcpError::NoAnswer { link: link.name.clone(), limit }),
    }
}

/// Asks anyone, from the beginning if need be.
async fn rebind(link: &Link, lease: &Lease, name: Option<&str>) -> Result<Lease, DhcpError> {
    acquire(link, Some(lease), name, Duration::from_secs(20)).await
}

enum Answer {
    Offered { address: Ipv4Addr, server: Ipv4Addr },
    Granted(Lease),
    Refused,
}

/// Sends `request` again and again, ever more slowly, until an answer to it comes or `end`.
async fn exchange(socket: &Socket, request: &Request, end: Instant) -> Option<Answer> {
    let mut pause = Duration::from_millis(500);
    let start = Instant::now();
    loop {
        let packet = request.encode(start.elapsed());
        if let Err(error) = socket.send(&packet, request.to()).await {
            warn!(%error, "DHCP packet not sent");
        }
        let until = end.min(Instant::now() + pause);
        while let Ok(received) = timeout_at(until, socket.receive()).await {
            match received.ok().and_then(|packet| answer(&packet, request)) {
                Some(Answer::Refused) => return None,
                Some(answer) => return Some(answer),
                None => {}
            }
        }
        if Instant::now() >= end {
            return None;
        }
        pause = (pause * 2).min(Duration::from_secs(8));
    }
}

/// What `packet` says to `request`; nothing if it is meant for someone else.
fn answer(packet: &[u8], request: &Request) -> Option<Answer> {
    let message = Message::decode(packet)?;
    if message.transaction != request.transaction || message.mac != request.mac {
        return None;
    }
    match (message.kind, request.wants()) {
        (Kind::Offer, Kind::Offer) => {
            Some(Answer::Offered { address: message.address, server: message.server? })
        }
        (Kind::Ack, Kind::Ack) => Some(Answer::Granted(Lease { granted: now(), ..message.lease()? })),
        (Kind::Nak, Kind::Ack) => Some(Answer::Refused),
        _ => None,
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn open(link: &Link, address: Ipv4Addr) -> Result<Socket, DhcpError> {
    Socket::open(&link.name, address).map_err(|source| DhcpError::Socket { link: link.name.clone(), source })
}
