//! Finds out when daemons that do not tell answer.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

/// Each try costs a machine that is starting some of the time that its daemons need.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until something listens on this port of the machine, on loopback or on `address`.
pub(crate) async fn port(address: IpAddr, port: u16) {
    let listens = |address: IpAddr| async move { TcpStream::connect((address, port)).await.is_ok() };
    eventually(|| async { listens(Ipv4Addr::LOCALHOST.into()).await || listens(address).await }).await
}

/// Waits until something listens on this socket.
pub(crate) async fn socket(path: &str) {
    eventually(|| async { UnixStream::connect(path).await.is_ok() }).await
}

async fn eventually<F: Future<Output = bool>>(attempt: impl Fn() -> F) {
    while !timeout(Duration::from_secs(2), attempt()).await.unwrap_or(false) {
        sleep(PAUSE).await;
    }
}
