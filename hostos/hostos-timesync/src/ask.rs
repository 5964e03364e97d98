//! One question to one server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout_at};

use crate::clock::Clock;
use crate::packet::{self, BadReply};

const PORT: u16 = 123;

/// What was learnt: by how much the clock is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Who says so.
    pub server: SocketAddr,
    /// How far the clock is from the right time.
    pub offset: Duration,
    /// Whether it is ahead, and must go back.
    pub ahead: bool,
    /// How long question and answer were on the way, which bounds the error.
    pub delay: Duration,
    /// The right time when the answer came.
    pub time: SystemTime,
}

/// Why nothing was learnt.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The socket.
    #[error("cannot ask {server}")]
    Socket {
        /// Whom.
        server: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("{server} does not answer")]
    Silent {
        /// Whom.
        server: SocketAddr,
    },
    /// An answer that is not to be believed.
    #[error("{server} answers nothing useful: {reason}")]
    Bad {
        /// Whom.
        server: SocketAddr,
        /// Why.
        reason: BadReply,
    },
    /// A time that cannot be.
    #[error("{server} says a time before this machine was built")]
    Early {
        /// Whom.
        server: SocketAddr,
    },
    /// No such server.
    #[error("the time server `{0}` has no address")]
    Name(String),
}

/// Asks the server called `name`, at each of its addresses in turn. `HOST:PORT` is understood too.
///
/// # Errors
/// None of them has an answer.
pub async fn ask_name(
    name: &str,
    clock: &impl Clock,
    floor: SystemTime,
    limit: Duration,
) -> Result<Sample, AskError> {
    let deadline = Instant::now() + limit;
    let servers: Vec<SocketAddr> = match name.parse::<SocketAddr>() {
        Ok(server) => vec![server],
        Err(_) => {
            let host = name.to_owned();
            let lookup = tokio::task::spawn_blocking(move || hostos_names::lookup(&host, deadline));
            let found = lookup.await.ok().and_then(Result::ok).unwrap_or_default();
            found.into_iter().map(|address| SocketAddr::new(address, PORT)).collect()
        }
    };
    let mut last = AskError::Name(name.to_owned());
    // A pool has many; three show whether it can be reached.
    for server in servers.into_iter().take(3) {
        let left = deadline.saturating_duration_since(Instant::now());
        match ask(server, clock, floor, left.min(Duration::from_secs(3))).await {
            Ok(sample) => return Ok(sample),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks one server, twice if the first question is lost.
///
/// # Errors
/// It has no answer, or none to be believed.
pub async fn ask(
    server: SocketAddr,
    clock: &impl Clock,
    floor: SystemTime,
    limit: Duration,
) -> Result<Sample, AskError> {
    let failed = |source| AskError::Socket { server, source };
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    let end = tokio::time::Instant::now() + limit;
    for _ in 0..2 {
        let until = end.min(tokio::time::Instant::now() + limit / 2);
        let cookie = rand::random();
        let (wall, start) = (clock.now(), Instant::now());
        if let Err(error) = socket.send(&packet::question(cookie)).await {
            // A router may say only to the next question that the last one went nowhere.
            tracing::debug!(%server, %error, "time not asked");
            sleep_until(until).await;
            continue;
        }
        let mut buffer = [0; 512];
        while let Ok(received) = timeout_at(until, socket.recv(&mut buffer)).await {
            let round = start.elapsed();
            let Ok(length) = received else {
                sleep_until(until).await;
                break;
            };
            match packet::reply(&buffer[..length], cookie, floor) {
                // Of an earlier question, or of someone who guesses.
                Err(BadReply::Foreign) => {}
                Err(reason) => return Err(AskError::Bad { server, reason }),
                Ok(reply) => return judge(server, reply, wall, round, floor),
            }
        }
    }
    Err(AskError::Silent { server })
}

/// `wall` is what the clock showed when it was asked, `round` how long that is ago.
fn judge(
    server: SocketAddr,
    reply: packet::Reply,
    wall: SystemTime,
    round: Duration,
    floor: SystemTime,
) -> Result<Sample, AskError> {
    let inside = reply.sent.duration_since(reply.received).unwrap_or_default().min(round);
    let delay = round - inside;
    // As long there as back is the best guess.
    let time = reply.sent + delay / 2;
    if time < floor {
        return Err(AskError::Early { server });
    }
    let shown = wall + round;
    let (offset, ahead) = match time.duration_since(shown) {
        Ok(behind) => (behind, false),
        Err(ahead) => (ahead.duration(), true),
    };
    Ok(Sample { server, offset, ahead, delay, time })
}
