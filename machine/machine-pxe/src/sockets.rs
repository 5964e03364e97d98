//! The site on a network of this workstation: DHCP on 67 (and 4011 for a proxy), TFTP on 69, HTTP.
//! Ports below 1024 need privileges. One thread for each socket and each HTTP connection.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Site;
use crate::tftp::{self, Step, Transfer, Wish};

/// How often a thread looks whether it is to end.
const TURN: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(30);
const LARGEST_HEAD: usize = 4096;
const CONNECTIONS: usize = 64;

/// Sockets that are bound already, so that a port that is taken is told of at once.
pub struct Sockets {
    dhcp: Vec<UdpSocket>,
    tftp: UdpSocket,
    http: TcpListener,
}

/// Which port was not to be had.
#[derive(Debug, thiserror::Error)]
#[error("could not bind {what}")]
pub struct BindError {
    what: String,
    #[source]
    source: io::Error,
}

impl Sockets {
    /// Binds them: DHCP on every address, since clients without one send to everybody.
    ///
    /// # Errors
    /// A port is taken, or needs privileges.
    pub fn bind(address: Ipv4Addr, http_port: u16, proxy: bool) -> Result<Self, BindError> {
        let failed = |what: String| move |source| BindError { what, source };
        let udp = |address: Ipv4Addr, port: u16| {
            let socket = UdpSocket::bind((address, port)).map_err(failed(format!("UDP {address}:{port}")))?;
            let set = socket.set_read_timeout(Some(TURN)).and_then(|()| socket.set_broadcast(true));
            set.map_err(failed(format!("UDP {address}:{port}")))?;
            Ok::<_, BindError>(socket)
        };
        let mut dhcp = vec![udp(Ipv4Addr::UNSPECIFIED, 67)?];
        if proxy {
            dhcp.push(udp(address, 4011)?);
        }
        let what = format!("TCP {address}:{http_port}");
        let http = TcpListener::bind((address, http_port)).map_err(failed(what.clone()))?;
        http.set_nonblocking(true).map_err(failed(what))?;
        Ok(Self { dhcp, tftp: udp(address, 69)?, http })
    }

    /// Serves until `stop` is set.
    pub fn serve(&self, site: &Site, stop: &AtomicBool) {
        let open = AtomicUsize::new(0);
        let open = &open;
        thread::scope(|scope| {
            for socket in &self.dhcp {
                scope.spawn(|| serve_dhcp(site, socket, stop));
            }
            scope.spawn(|| serve_tftp(site, &self.tftp, stop));
            while !stop.load(Ordering::SeqCst) {
                match self.http.accept() {
                    Ok((stream, peer)) if open.load(Ordering::SeqCst) < CONNECTIONS => {
                        open.fetch_add(1, Ordering::SeqCst);
                        scope.spawn(move || {
                            if let Err(error) = answer(site, stream, peer) {
                                tracing::debug!(%peer, %error, "a connection broke off");
                            }
                            open.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                    Ok(_) => {}
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
    }
}

fn serve_dhcp(site: &Site, socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Some(reply) = site.dhcp(&buffer[..length]) else { continue };
        let to = if from.ip().is_unspecified() { SocketAddr::from((Ipv4Addr::BROADCAST, 68)) } else { from };
        if let Err(error) = socket.send_to(&reply, to) {
            tracing::warn!(%to, %error, "a DHCP answer was not sent");
        }
    }
}

fn serve_tftp(site: &Site, socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    // One socket serves all: a transfer is known by its client's address and port.
    let mut transfers: BTreeMap<SocketAddr, Transfer> = BTreeMap::new();
    while !stop.load(Ordering::SeqCst) {
        let now = Instant::now();
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let datagram = &buffer[..length];
            let reply = match (Wish::parse(datagram), transfers.get_mut(&from)) {
                (Some(wish), _) => match site.tftp(&wish) {
                    Ok(content) => {
                        let (transfer, first) = Transfer::begin(&wish, content, now);
                        transfers.insert(from, transfer);
                        Step::Send(first)
                    }
                    Err(reason) => Step::Send(tftp::refusal(&reason)),
                },
                (None, Some(transfer)) => transfer.take(datagram, now),
                (None, None) => Step::Wait,
            };
            act(socket, &mut transfers, from, reply);
        }
        let due: Vec<(SocketAddr, Step)> =
            transfers.iter_mut().map(|(client, transfer)| (*client, transfer.tick(now))).collect();
        due.into_iter().for_each(|(client, step)| act(socket, &mut transfers, client, step));
    }
}

fn act(socket: &UdpSocket, transfers: &mut BTreeMap<SocketAddr, Transfer>, client: SocketAddr, step: Step) {
    match step {
        Step::Send(datagram) => {
            if let Err(error) = socket.send_to(&datagram, client) {
                tracing::debug!(%client, %error, "a block was not sent");
            }
        }
        Step::Wait => {}
        Step::Done => drop(transfers.remove(&client)),
    }
}

fn answer(site: &Site, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() < LARGEST_HEAD {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => head.extend(&buffer[..count]),
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let answer = site.http(target, peer.ip());
    stream.write_all(answer.head().as_bytes())?;
    if method == "GET" {
        stream.write_all(&answer.body)?;
    }
    stream.flush()
}
