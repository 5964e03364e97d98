//! One resolver: two sockets in a container's namespace, and whom to ask.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::message::{self, A, AAAA, Code, PTR, Question};
use crate::netns::Netns;

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);
/// How long an upstream server has.
const PATIENCE: Duration = Duration::from_secs(4);
/// Questions of one container in work at once.
const AT_ONCE: usize = 256;
/// An idle TCP client is sent away after this.
const TCP_IDLE: Duration = Duration::from_secs(30);

/// What the engine knows of names, as one container may see them. Asked anew
/// for each question, so that it may change at any time.
pub trait Names: Send + Sync + 'static {
    /// The addresses of a name, `None` if it is no container's. An empty list
    /// is a name without IPv4 address.
    fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>>;
    /// The name of an address.
    fn name_of(&self, address: Ipv4Addr) -> Reverse;
    /// Servers to pass other questions on to; none on internal networks.
    fn upstreams(&self) -> Vec<IpAddr>;
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reverse {
    Name(String),
    /// In one of our networks, but nobody's.
    Nobody,
    /// Not ours: ask elsewhere.
    Foreign,
}

/// A running resolver; dropping it ends it.
#[derive(Debug)]
pub struct DnsServer {
    tasks: JoinSet<()>,
}

impl DnsServer {
    /// Binds 127.0.0.11:53 inside and serves from here. Needs a tokio runtime.
    pub fn start(namespace: &Netns, names: Arc<dyn Names>) -> io::Result<Self> {
        let (udp, tcp) = namespace.bind_dns(ADDRESS)?;
        Self::serve(UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?, names)
    }

    fn serve(udp: UdpSocket, tcp: TcpListener, names: Arc<dyn Names>) -> io::Result<Self> {
        let resolver = Arc::new(Resolver { names, slots: Semaphore::new(AT_ONCE) });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(Arc::new(udp), resolver.clone()));
        tasks.spawn(serve_tcp(tcp, resolver));
        Ok(Self { tasks })
    }

    /// Are both sockets still served?
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.tasks.len() == 2
    }
}

struct Resolver {
    names: Arc<dyn Names>,
    slots: Semaphore,
}

async fn serve_udp(socket: Arc<UdpSocket>, resolver: Arc<Resolver>) {
    let mut buffer = vec![0; 4096];
    let mut work = JoinSet::new();
    loop {
        while work.try_join_next().is_some() {}
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let query = buffer[..length].to_vec();
        // What is known here is answered here; only waiting costs a task.
        match resolver.answer_locally(&query) {
            Local::Answer(answer) => drop(socket.send_to(&answer, client).await),
            Local::Ignore => {}
            Local::AskElsewhere(question) => {
                if work.len() >= AT_ONCE {
                    let answer = message::respond(&query, &question, Code::ServerFailure, &[]);
                    let _ = socket.send_to(&answer, client).await;
                    continue;
                }
                let (socket, resolver) = (socket.clone(), resolver.clone());
                work.spawn(async move {
                    let answer = resolver.ask_elsewhere(&query, &question, false).await;
                    let _ = socket.send_to(&answer, client).await;
                });
            }
        }
    }
}

async fn serve_tcp(listener: TcpListener, resolver: Arc<Resolver>) {
    let mut work = JoinSet::new();
    loop {
        while work.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if work.len() < AT_ONCE {
            let resolver = resolver.clone();
            work.spawn(async move { drop(serve_client(client, &resolver).await) });
        }
    }
}

async fn serve_client(mut client: TcpStream, resolver: &Resolver) -> io::Result<()> {
    loop {
        let length = tokio::time::timeout(TCP_IDLE, client.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        tokio::time::timeout(TCP_IDLE, client.read_exact(&mut query)).await??;
        let answer = match resolver.answer_locally(&query) {
            Local::Answer(answer) => answer,
            Local::Ignore => return Ok(()),
            Local::AskElsewhere(question) => resolver.ask_elsewhere(&query, &question, true).await,
        };
        let mut out = (answer.len() as u16).to_be_bytes().to_vec();
        out.extend(answer);
        client.write_all(&out).await?;
    }
}

enum Local {
    Answer(Vec<u8>),
    AskElsewhere(Question),
    Ignore,
}

impl Resolver {
    fn answer_locally(&self, query: &[u8]) -> Local {
        let Some(question) = message::parse(query) else {
            return message::refuse(query).map_or(Local::Ignore, Local::Answer);
        };
        let answer =
            |code, records: &[Vec<u8>]| Local::Answer(message::respond(query, &question, code, records));
        match question.kind {
            A | AAAA => {
                let Some(addresses) = self.names.addresses(&question.name) else {
                    return Local::AskElsewhere(question);
                };
                // A container has no IPv6 address, but its name exists.
                let wanted = if question.kind == A { addresses.as_slice() } else { &[] };
                let records: Vec<Vec<u8>> = wanted.iter().map(|address| address.octets().to_vec()).collect();
                answer(Code::Ok, &records)
            }
            PTR => {
                match message::reverse_address(&question.name).map(|address| self.names.name_of(address)) {
                    Some(Reverse::Name(name)) => answer(Code::Ok, &[message::encode_name(&name)]),
                    Some(Reverse::Nobody) => answer(Code::NoSuchName, &[]),
                    Some(Reverse::Foreign) | None => Local::AskElsewhere(question),
                }
            }
            _ => match self.names.addresses(&question.name) {
                Some(_) => answer(Code::Ok, &[]),
                None => Local::AskElsewhere(question),
            },
        }
    }

    async fn ask_elsewhere(&self, query: &[u8], question: &Question, tcp: bool) -> Vec<u8> {
        let upstreams = self.names.upstreams();
        let none_left = || message::respond(query, question, Code::ServerFailure, &[]);
        if upstreams.is_empty() {
            return none_left();
        }
        let Ok(_slot) = self.slots.acquire().await else { return none_left() };
        for upstream in upstreams {
            let server = SocketAddr::new(upstream, 53);
            let asked =
                async { if tcp { ask_tcp(server, query).await } else { ask_udp(server, query).await } };
            if let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, asked).await {
                return answer;
            }
        }
        none_left()
    }
}

/// A socket for each question, so that its port is as hard to guess as its id.
async fn ask_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        "::".parse().map_err(io::Error::other)?
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if length >= 12 && buffer[..2] == query[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let mut out = (query.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(query);
    stream.write_all(&out).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Names for Fixed {
        fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
            (name == "web").then(|| vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)])
        }

        fn name_of(&self, address: Ipv4Addr) -> Reverse {
            if address == Ipv4Addr::new(10, 0, 0, 2) {
                Reverse::Name("web.net".into())
            } else {
                Reverse::Nobody
            }
        }

        fn upstreams(&self) -> Vec<IpAddr> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn names_are_answered_over_both_transports() {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let server = DnsServer::serve(udp, tcp, Arc::new(Fixed)).unwrap();
        let ask = async |name: &str, kind| ask_udp(udp_at, &message::query(name, kind)).await.unwrap();
        assert!(ask("WEB", A).await.ends_with(&[0, 4, 10, 0, 0, 3]));
        assert_eq!(ask("web", AAAA).await[3] & 15, 0, "the name exists");
        assert_eq!(ask("elsewhere.example", A).await[3] & 15, Code::ServerFailure as u8);
        assert!(ask("2.0.0.10.in-addr.arpa", PTR).await.ends_with(b"\x03web\x03net\0"));
        assert_eq!(ask("9.0.0.10.in-addr.arpa", PTR).await[3] & 15, Code::NoSuchName as u8);
        let answer = ask_tcp(tcp_at, &message::query("web", A)).await.unwrap();
        assert!(answer.ends_with(&[0, 4, 10, 0, 0, 3]));
        assert!(server.is_serving());
    }
}
