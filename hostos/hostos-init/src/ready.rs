//! Finds out when the daemons of a machine answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until the engine answers a ping on its socket; false after `limit`.
pub(crate) async fn engine(limit: Duration) -> bool {
    eventually(limit, || async { ping().await.is_ok() }).await
}

/// Waits until something listens on this port of the machine, on loopback or on `address`; false after
/// `limit`.
pub(crate) async fn port(address: IpAddr, port: u16, limit: Duration) -> bool {
    let listens = |address: IpAddr| async move { TcpStream::connect((address, port)).await.is_ok() };
    eventually(limit, || async { listens(Ipv4Addr::LOCALHOST.into()).await || listens(address).await }).await
}

/// Waits until something listens on this socket; false after `limit`.
pub(crate) async fn socket(path: &str, limit: Duration) -> bool {
    eventually(limit, || async { UnixStream::connect(path).await.is_ok() }).await
}

async fn eventually<F: Future<Output = bool>>(limit: Duration, attempt: impl Fn() -> F) -> bool {
    let end = Instant::now() + limit;
    loop {
        if timeout(Duration::from_secs(2), attempt()).await.unwrap_or(false) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(PAUSE).await;
    }
}

async fn ping() -> io::Result<()> {
    let mut stream = UnixStream::connect("/run/docker.sock").await?;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n").await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    if &answer == b"HTTP/1.1 200" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
