//! Connecting and logging in, with a limit and a pinned host key.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, Handle, Handler};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::HostKey;

/// Where to log in, as whom, and what proves both sides.
#[derive(Clone)]
pub struct Target {
    /// Address and port.
    pub address: SocketAddr,
    /// User.
    pub user: String,
    /// Private key in OpenSSH's format.
    pub private_key: String,
    /// What the server must prove; nothing means that any server is believed, once.
    pub host_key: Option<HostKey>,
    /// For connecting and logging in.
    pub limit: Duration,
}

/// Why ssh did not work.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// Nothing listens there.
    #[error("could not connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("the ssh server at {address} did not let us in within {} s", limit.as_secs())]
    TimedOut {
        /// Where.
        address: SocketAddr,
        /// The limit.
        limit: Duration,
    },
    /// Someone else answers.
    #[error(
        "the ssh server at {0} has another key than the one pinned for this machine: it is not this machine"
    )]
    HostKey(SocketAddr),
    /// Not let in.
    #[error("the ssh server at {address} does not let `{user}` in with this machine's key")]
    Denied {
        /// Where.
        address: SocketAddr,
        /// Who.
        user: String,
    },
    /// The private key is unusable.
    #[error("the private key is unreadable")]
    Key(#[source] russh::keys::ssh_key::Error),
    /// The protocol broke.
    #[error("the ssh connection broke")]
    Protocol(#[source] russh::Error),
    /// Own standard streams broke.
    #[error("could not pass on the data of the ssh session")]
    Io(#[source] std::io::Error),
}

impl From<russh::Error> for SshError {
    fn from(error: russh::Error) -> Self {
        Self::Protocol(error)
    }
}

/// A logged-in connection.
pub struct Session {
    pub(crate) handle: Handle<Judge>,
    seen: Arc<Mutex<Option<HostKey>>>,
}

impl Session {
    /// Connects and logs in.
    pub async fn connect(target: &Target) -> Result<Self, SshError> {
        let late = || SshError::TimedOut { address: target.address, limit: target.limit };
        timeout(target.limit, Self::log_in(target)).await.map_err(|_| late())?
    }

    /// The key that the server proved to have.
    #[must_use]
    pub fn host_key(&self) -> Option<HostKey> {
        self.seen.lock().ok().and_then(|seen| seen.clone())
    }

    /// Says goodbye; errors no longer matter then.
    pub async fn close(self) {
        let goodbye = self.handle.disconnect(russh::Disconnect::ByApplication, "", "en");
        let _ = timeout(Duration::from_secs(1), goodbye).await;
    }

    async fn log_in(target: &Target) -> Result<Self, SshError> {
        let key = PrivateKey::from_openssh(&target.private_key).map_err(SshError::Key)?;
        let address = target.address;
        let stream =
            TcpStream::connect(address).await.map_err(|source| SshError::Connect { address, source })?;
        // Without it a keystroke may wait for the last one's acknowledgement.
        let _ = stream.set_nodelay(true);
        let seen = Arc::new(Mutex::new(None));
        let judge = Judge { pinned: target.host_key.clone(), seen: Arc::clone(&seen) };
        let config = client::Config {
            keepalive_interval: Some(Duration::from_secs(15)),
            nodelay: true,
            ..client::Config::default()
        };
        let mut handle =
            client::connect_stream(Arc::new(config), stream, judge).await.map_err(|error| match error {
                russh::Error::UnknownKey => SshError::HostKey(address),
                other => SshError::Protocol(other),
            })?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        if !handle.authenticate_publickey(&target.user, key).await?.success() {
            return Err(SshError::Denied { address, user: target.user.clone() });
        }
        Ok(Self { handle, seen })
    }
}

/// Believes only the pinned key.
pub(crate) struct Judge {
    pinned: Option<HostKey>,
    seen: Arc<Mutex<Option<HostKey>>>,
}

impl Handler for Judge {
    type Error = russh::Error;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = presented else { return Ok(false) };
        let believed = self.pinned.as_ref().is_none_or(|pinned| pinned.matches(key));
        if let (Ok(mut seen), Ok(line)) = (self.seen.lock(), key.to_openssh()) {
            *seen = HostKey::from_public(&line).ok();
        }
        Ok(believed)
    }
}
