//! Listens, and runs one connection per client.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::MethodKind;
use russh::server::Config;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::host_key::{self, HostKeyError};
use crate::options::Options;
use crate::session::Connection;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// How long a client may take to prove who it is.
const LOGIN_LIMIT: Duration = Duration::from_secs(60);

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
}

pub(crate) async fn serve(options: Options) -> Result<(), ServeError> {
    let key = host_key::load_or_make(&options.host_key)?;
    let config = Arc::new(config(key));
    let options = Arc::new(options);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut listeners = JoinSet::new();
    for address in &options.listen {
        let failed = |source| ServeError::Listen { address: *address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        info!(%address, "serving ssh");
        listeners.spawn(accept(listener, Arc::clone(&config), Arc::clone(&options), Arc::clone(&room)));
    }
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!(%error, "could not tell the supervisor that ssh is served");
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Runtime)?;
    terminate.recv().await;
    Ok(())
}

fn config(key: russh::keys::PrivateKey) -> Config {
    Config {
        server_id: russh::SshId::Standard("SSH-2.0-rmachine".into()),
        methods: (&[MethodKind::PublicKey][..]).into(),
        keys: vec![key],
        auth_rejection_time: Duration::from_millis(300),
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(30)),
        keepalive_max: 4,
        nodelay: true,
        ..Config::default()
    }
}

async fn accept(listener: TcpListener, config: Arc<Config>, options: Arc<Options>, room: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (config, options) = (Arc::clone(&config), Arc::clone(&options));
                connections.spawn(async move {
                    let _permit = permit;
                    converse(stream, peer, config, options).await;
                });
            }
            Err(error) => {
                warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, config: Arc<Config>, options: Arc<Options>) {
    let logged_in = Arc::new(Notify::new());
    let connection = Connection::new(options, peer, Arc::clone(&logged_in));
    let start = tokio::time::timeout(LOGIN_LIMIT, russh::server::run_stream(config, stream, connection));
    let mut running = match start.await {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return info!(%peer, %error, "connection ended before it began"),
        Err(_) => return info!(%peer, "connection ended: no greeting"),
    };
    tokio::select! {
        ended = &mut running => return log_end(peer, ended),
        () = logged_in.notified() => {}
        () = tokio::time::sleep(LOGIN_LIMIT) => return info!(%peer, "connection ended: no login"),
    }
    log_end(peer, running.await);
}

fn log_end(peer: SocketAddr, ended: Result<(), russh::Error>) {
    match ended {
        Ok(()) | Err(russh::Error::Disconnect | russh::Error::HUP) => {}
        Err(error) => info!(%peer, %error, "connection ended"),
    }
}
