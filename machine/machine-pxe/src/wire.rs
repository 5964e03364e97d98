//! The site as a port of a cluster's switch: frames in, frames out, no root. DHCP and TFTP are answered
//! frame by frame; HTTP runs over a TCP of our own (smoltcp), which also answers ARP.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Stamp;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use crate::ether::{Datagram, datagram, frame, is_router_solicitation, router_advertisement};
use crate::tftp::{self, Step, Transfer, Wish};
use crate::{Answer, Mac, Site};

/// Our hardware address on every switch.
const OWN: Mac = Mac([0x02, 0x72, 0x6d, 0x61, 0x63, 0x02]);
const LARGEST_FRAME: usize = 68 * 1024;
const MTU: usize = 1514;
const CONNECTIONS: usize = 16;
const TRANSFERS: usize = 64;
const LARGEST_HEAD: usize = 4096;
const SEND_BUFFER: usize = 256 * 1024;
/// A connection that does nothing for so long is dropped.
const IDLE: Duration = Duration::from_secs(30);
const ADVERTISE: Duration = Duration::from_secs(3);
const QUEUE: usize = 4096;

/// Serves until `stop` is set, or the switch is gone, which is an error.
///
/// # Errors
/// The switch ended or cannot be written to.
pub fn serve(site: &Site, stream: UnixStream, stop: &AtomicBool) -> io::Result<()> {
    let frames = receive(stream.try_clone()?);
    let mut server = Server::new(site, stream);
    while !stop.load(Ordering::SeqCst) {
        match frames.recv_timeout(server.pause()) {
            Ok(first) => {
                server.take(first)?;
                while let Ok(next) = frames.try_recv() {
                    server.take(next)?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the switch ended"));
            }
        }
        server.go_on()?;
    }
    server.out.stream.shutdown(std::net::Shutdown::Both)
}

/// A thread that reads frames; it ends with the connection.
fn receive(stream: UnixStream) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(QUEUE);
    thread::spawn(move || {
        let mut reader = BufReader::with_capacity(256 * 1024, stream);
        let mut read = || -> io::Result<Vec<u8>> {
            let mut length = [0; 4];
            reader.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length > LARGEST_FRAME {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut frame = vec![0; length];
            reader.read_exact(&mut frame)?;
            Ok(frame)
        };
        while let Ok(frame) = read() {
            if sender.send(frame).is_err() {
                return;
            }
        }
    });
    receiver
}

struct Server<'a> {
    site: &'a Site,
    out: Out,
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
    connections: BTreeMap<SocketHandle, Connection>,
    transfers: BTreeMap<(Ipv4Addr, u16), (Mac, u16, Transfer)>,
    began: Instant,
    advertised: Instant,
    next_port: u16,
}

struct Out {
    stream: UnixStream,
}

impl Out {
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.stream.write_all(&[&length.to_be_bytes()[..], frame].concat())
    }
}

/// One HTTP request and its answer.
struct Connection {
    head: Vec<u8>,
    answer: Option<Answer>,
    sent: usize,
    /// The head of the answer counts as the first bytes.
    first: Vec<u8>,
    since: Instant,
}

impl Connection {
    fn new() -> Self {
        Self { head: Vec::new(), answer: None, sent: 0, first: Vec::new(), since: Instant::now() }
    }
}

impl<'a> Server<'a> {
    fn new(site: &'a Site, stream: UnixStream) -> Self {
        let began = Instant::now();
        let mut port = Port::default();
        let config = Config::new(EthernetAddress(OWN.0).into());
        let mut interface = Interface::new(config, &mut port, Stamp::from_millis(0));
        interface.update_ip_addrs(|addresses| {
            let own = IpCidr::new(IpAddress::Ipv4(site.server()), 24);
            addresses.push(own).expect("it has room for one address");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let mut connections = BTreeMap::new();
        for _ in 0..CONNECTIONS {
            let receive = tcp::SocketBuffer::new(vec![0; 16 * 1024]);
            let send = tcp::SocketBuffer::new(vec![0; SEND_BUFFER]);
            connections.insert(sockets.add(tcp::Socket::new(receive, send)), Connection::new());
        }
        Self {
            site,
            out: Out { stream },
            port,
            interface,
            sockets,
            connections,
            transfers: BTreeMap::new(),
            began,
            advertised: began - ADVERTISE,
            next_port: 50_000,
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp::from_micros(i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// How long nothing needs to be done unless a frame comes.
    fn pause(&mut self) -> Duration {
        let stamp = self.stamp();
        let wanted =
            self.interface.poll_delay(stamp, &self.sockets).map_or(200, |delay| delay.total_millis());
        Duration::from_millis(wanted.clamp(1, 200))
    }

    fn take(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        if is_router_solicitation(&bytes) {
            self.advertised = Instant::now();
            return self.out.send(&router_advertisement(OWN));
        }
        if let Some(datagram) = datagram(&bytes) {
            let to_us = datagram.to.0 == self.site.server() || datagram.to.0.is_broadcast();
            match datagram.to.1 {
                67 | 4011 if to_us => return self.dhcp(&datagram),
                69 if to_us => return self.tftp(&datagram),
                _ if self.transfers.contains_key(&datagram.from) => return self.transfer(&datagram),
                _ => {}
            }
        }
        self.port.incoming.push_back(bytes);
        Ok(())
    }

    fn dhcp(&mut self, question: &Datagram<'_>) -> io::Result<()> {
        let Some(answer) = self.site.dhcp(question.payload) else { return Ok(()) };
        // A client without an address hears only what everybody hears.
        let to = match question.from {
            (address, port) if !address.is_unspecified() => (address, port),
            _ => (Ipv4Addr::BROADCAST, 68),
        };
        let own = (OWN, (self.site.server(), question.to.1));
        self.out.send(&frame(own, (question.from_mac, to), &answer))
    }

    fn tftp(&mut self, asked: &Datagram<'_>) -> io::Result<()> {
        let Some(wish) = Wish::parse(asked.payload) else { return Ok(()) };
        self.next_port = if self.next_port >= 60_000 { 50_000 } else { self.next_port + 1 };
        let own = (OWN, (self.site.server(), self.next_port));
        let to = (asked.from_mac, asked.from);
        match self.site.tftp(&wish) {
            Ok(content) if self.transfers.len() < TRANSFERS => {
                let (transfer, first) = Transfer::begin(&wish, content, Instant::now());
                self.transfers.insert(asked.from, (asked.from_mac, self.next_port, transfer));
                self.out.send(&frame(own, to, &first))
            }
            Ok(_) => self.out.send(&frame(own, to, &tftp::refusal("too many transfers; try again"))),
            Err(reason) => self.out.send(&frame(own, to, &tftp::refusal(&reason))),
        }
    }

    fn transfer(&mut self, datagram: &Datagram<'_>) -> io::Result<()> {
        let Some((mac, port, transfer)) = self.transfers.get_mut(&datagram.from) else { return Ok(()) };
        if datagram.to.1 != *port {
            return Ok(());
        }
        match transfer.take(datagram.payload, Instant::now()) {
            Step::Send(next) => {
                let own = (OWN, (self.site.server(), *port));
                self.out.send(&frame(own, (*mac, datagram.from), &next))
            }
            Step::Wait => Ok(()),
            Step::Done => {
                self.transfers.remove(&datagram.from);
                Ok(())
            }
        }
    }

    /// Everything that time or new frames make possible.
    fn go_on(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if now.saturating_duration_since(self.advertised) >= ADVERTISE {
            self.advertised = now;
            self.out.send(&router_advertisement(OWN))?;
        }
        let server = self.site.server();
        let mut over = Vec::new();
        for (client, (mac, port, transfer)) in &mut self.transfers {
            match transfer.tick(now) {
                Step::Send(again) => {
                    self.out.send(&frame((OWN, (server, *port)), (*mac, *client), &again))?
                }
                Step::Wait => {}
                Step::Done => over.push(*client),
            }
        }
        over.iter().for_each(|client| drop(self.transfers.remove(client)));
        // What is written after a poll leaves with the next.
        for _ in 0..2 {
            let stamp = self.stamp();
            self.interface.poll(stamp, &mut self.port, &mut self.sockets);
            self.http();
        }
        let stamp = self.stamp();
        self.interface.poll(stamp, &mut self.port, &mut self.sockets);
        while let Some(bytes) = self.port.outgoing.pop_front() {
            self.out.send(&bytes)?;
        }
        Ok(())
    }

    fn http(&mut self) {
        for (handle, connection) in &mut self.connections {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            if !socket.is_open() {
                *connection = Connection::new();
                if let Err(error) = socket.listen(80) {
                    tracing::warn!(%error, "HTTP does not listen");
                }
                continue;
            }
            if socket.is_listening() {
                connection.since = Instant::now();
                continue;
            }
            if connection.since.elapsed() > IDLE {
                socket.abort();
                continue;
            }
            if connection.answer.is_none() {
                read(self.site, socket, connection);
            }
            write(socket, connection);
        }
    }
}

fn read(site: &Site, socket: &mut tcp::Socket<'_>, connection: &mut Connection) {
    while socket.can_recv() {
        let got = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).unwrap_or_default();
        connection.head.extend(got);
        connection.since = Instant::now();
    }
    let is_whole = connection.head.windows(4).any(|window| window == b"\r\n\r\n");
    if !is_whole && connection.head.len() <= LARGEST_HEAD {
        return;
    }
    let head = String::from_utf8_lossy(&connection.head).into_owned();
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let peer = socket.remote_endpoint().map(|endpoint| match endpoint.addr {
        IpAddress::Ipv4(address) => IpAddr::V4(address),
        #[allow(unreachable_patterns, reason = "IPv6 is a feature of smoltcp that others may turn on")]
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    });
    let mut answer = site.http(target, peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    tracing::debug!(target, status = answer.status, "answered");
    connection.first = answer.head().into_bytes();
    if method != "GET" {
        answer.body = Arc::default();
    }
    connection.answer = Some(answer);
}

fn write(socket: &mut tcp::Socket<'_>, connection: &mut Connection) {
    let Some(answer) = &connection.answer else { return };
    let total = connection.first.len() + answer.body.len();
    while connection.sent < total && socket.can_send() {
        let rest = if connection.sent < connection.first.len() {
            &connection.first[connection.sent..]
        } else {
            &answer.body[connection.sent - connection.first.len()..]
        };
        match socket.send_slice(rest) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                connection.sent += count;
                connection.since = Instant::now();
            }
        }
    }
    if connection.sent == total {
        socket.close();
    }
}

/// Frames between the switch and smoltcp.
#[derive(Default)]
struct Port {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

struct Incoming(Vec<u8>);

struct Outgoing<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Port {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _timestamp: Stamp) -> Option<(Incoming, Outgoing<'_>)> {
        self.incoming.pop_front().map(|frame| (Incoming(frame), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _timestamp: Stamp) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, work: F) -> R {
        work(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, work: F) -> R {
        let mut frame = vec![0; length];
        let done = work(&mut frame);
        self.0.push_back(frame);
        done
    }
}
