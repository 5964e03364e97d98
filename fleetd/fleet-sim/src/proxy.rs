//! A way to the store that can be cut, silenced and slowed, for one machine.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the way does to what goes through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Connections break, new ones are refused.
    Cut,
    /// Connections stand, nothing goes through: as a cable that is pulled.
    Silent,
    /// Everything comes late.
    Slow(Duration),
}

/// A listener that forwards to the store; it ends with this value.
pub(crate) struct Proxy {
    endpoint: String,
    fault: watch::Sender<Fault>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// To a store at `http://HOST:PORT`.
    pub(crate) async fn start(store: &str) -> Result<Self> {
        let store: Arc<str> = store.trim_start_matches("http://").into();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (fault, seen) = watch::channel(Fault::None);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, store, seen));
        Ok(Self { endpoint, fault, _tasks: tasks })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn accept(listener: TcpListener, store: Arc<str>, seen: watch::Receiver<Fault>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if *seen.borrow() != Fault::Cut {
            connections.spawn(forward(client, Arc::clone(&store), seen.clone()));
        }
    }
}

async fn forward(client: TcpStream, store: Arc<str>, mut seen: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(&*store).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut cut = seen.clone();
    tokio::select! {
        () = pass(&mut from_client, &mut to_server, seen.clone()) => {}
        () = pass(&mut from_server, &mut to_client, seen.clone()) => {}
        _ = cut.wait_for(|fault| *fault == Fault::Cut) => {}
        // The fleet is gone.
        () = async { while seen.changed().await.is_ok() {} } => {}
    }
}

async fn pass(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    mut seen: watch::Receiver<Fault>,
) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let fault = *seen.borrow();
        match fault {
            Fault::Slow(delay) => tokio::time::sleep(delay).await,
            _ => drop(seen.wait_for(|fault| *fault != Fault::Silent).await),
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
