//! A client of etcd's v3 API: `kvd`, or a real etcd.
//!
//! [`Client`] holds one lazy connection per endpoint and moves to the next when one does not answer. Reads are
//! tried again on another endpoint; a write only when it certainly never left (so it is never done twice).
//! [`Watcher`] resumes by itself where it broke off, [`LeaseKeeper`] keeps a lease alive until it is dropped,
//! [`Client::campaign`] and [`Client::lock`] are etcd's recipes. It resolves names through /etc/hosts and DNS
//! itself (no getaddrinfo), so it works in a static binary. It does not cache, and does not do auth yet.

mod client;
mod config;
pub mod connect;
mod election;
pub mod fetch;
mod lease;
pub mod resolve;
mod txn;
mod watch;

pub use client::{Client, never_sent};
pub use config::{Config, ConfigError, Tls};
pub use connect::{Dialer, Unreachable};
pub use election::Ownership;
pub use kv_api::{
    ErrorKind, etcdserverpb as pb,
    mvccpb::{Event, KeyValue, event::EventType},
    prefix_end,
};
pub use lease::LeaseKeeper;
pub use txn::{Txn, compare, op};
pub use watch::{WatchError, WatchOptions, Watched, Watcher};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster answered, with one of etcd's errors.
    #[error("{0}")]
    Etcd(ErrorKind),
    /// No endpoint could be reached.
    #[error("no endpoint answered, tried {tried}: {last}")]
    NoEndpoint { tried: String, last: String },
    /// Not done within the configured request timeout. A write may have happened.
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    /// Another failure of the call.
    #[error("{} ({:?})", .0.message(), .0.code())]
    Status(Box<tonic::Status>),
    /// A lease was lost while something depended on it.
    #[error("lease {0:x} expired or was revoked")]
    LeaseLost(i64),
    #[error("could not watch")]
    Watch(#[from] WatchError),
}

impl Error {
    /// Which of etcd's errors this is, if it is one.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Etcd(kind) => Some(*kind),
            _ => None,
        }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        ErrorKind::of(&status).map_or_else(|| Self::Status(Box::new(status)), Self::Etcd)
    }
}

/// What calls return.
pub type Result<T> = std::result::Result<T, Error>;
