//! The HTTP API: fleet's v1 under both its paths, Prometheus' figures, and what is ours (why, journal,
//! events, drain).
//!
//! On a unix socket everyone who may open it is an administrator. On TCP every client shows a
//! certificate; one whose subject has the organisational unit [`READ_ONLY`] may only read.

mod journal;
mod listen;
mod machines;
mod ours;
mod reply;
mod states;
mod units;

use std::sync::{Arc, RwLock};

use anyhow::Result;
use fleet_registry::{Registry, RegistryError};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::config::Config;
use crate::metrics::Metrics;

use listen::Identity;
pub(crate) use listen::bind;
use reply::{Reply, error, error_of};

/// The organisational unit of clients that may only read.
pub(crate) const READ_ONLY: &str = "read-only";

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Admin,
    ReadOnly,
}

/// What requests are answered from. Clones share everything.
#[derive(Clone)]
pub(crate) struct Api {
    registry: Registry,
    machine: String,
    token_limit: u16,
    metrics: Arc<Metrics>,
    identity: Arc<RwLock<Option<Identity>>>,
}

impl Api {
    pub(crate) fn new(registry: Registry, config: &Config, metrics: Arc<Metrics>) -> Result<Self> {
        let identity = Arc::new(RwLock::new(Identity::load(config)?));
        Ok(Self {
            registry,
            machine: config.machine_id.clone(),
            token_limit: config.token_limit,
            metrics,
            identity,
        })
    }

    /// Reads the certificates again; connections that are open keep the old ones.
    pub(crate) fn reload(&self, config: &Config) -> Result<()> {
        let identity = Identity::load(config)?;
        *self.identity.write().expect("no holder of this lock panics") = identity;
        Ok(())
    }

    fn identity(&self) -> Option<Identity> {
        self.identity.read().expect("no holder of this lock panics").clone()
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, role: Role, request: Request<Incoming>) -> Reply {
        self.metrics.request();
        let path = request.uri().path().to_owned();
        if path == "/metrics" {
            return reply::text(self.metrics.render());
        }
        if path == "/" {
            return error(StatusCode::METHOD_NOT_ALLOWED, "only GET supported against this resource");
        }
        let inside = fleet_api::BASE_PATHS
            .iter()
            .find_map(|base| path.strip_prefix(base))
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(inside) = inside else { return error(StatusCode::NOT_FOUND, "") };
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if role == Role::ReadOnly && !reads {
            let message = format!(
                "this client's certificate has the organisational unit {READ_ONLY}: it may only read"
            );
            return error(StatusCode::FORBIDDEN, &message);
        }
        self.route(inside, request).await
    }

    async fn route(&self, inside: &str, request: Request<Incoming>) -> Reply {
        let mut parts = inside.trim_start_matches('/').splitn(2, '/');
        let (resource, item) =
            (parts.next().unwrap_or_default(), parts.next().filter(|item| !item.is_empty()));
        let only_read = ["discovery", "why", "journal", "status", "events"].contains(&resource);
        if only_read && request.method() != Method::GET {
            return error(StatusCode::METHOD_NOT_ALLOWED, "only GET supported against this resource");
        }
        match (resource, item) {
            ("units", None) => self.units(request).await,
            ("units", Some(name)) => self.unit(name, request).await,
            ("state", None) => self.states(None, &request).await,
            ("state", Some(name)) => self.states(Some(name), &request).await,
            ("machines", None) => self.machines(request).await,
            ("discovery", None) => reply::json(&ours::discovery()),
            ("why", Some(name)) => self.why(name).await,
            ("journal", Some(name)) => self.journal(name, &request).await,
            ("status", Some(name)) => self.status(name, &request).await,
            ("events", None) => self.events(),
            ("drain", Some(machine)) => self.drain(machine, request.method()).await,
            _ => error(StatusCode::NOT_FOUND, ""),
        }
    }
}

/// A store that does not answer is 503, everything else that the registry refuses is 500.
fn store_error(failure: &RegistryError) -> Reply {
    match failure {
        RegistryError::NoUnit => error(StatusCode::NOT_FOUND, "unit does not exist"),
        RegistryError::Contended { .. } => error(StatusCode::CONFLICT, &failure.to_string()),
        RegistryError::Store(_) | RegistryError::Watch(_) | RegistryError::Deposed => {
            error_of(StatusCode::SERVICE_UNAVAILABLE, failure)
        }
    }
}

/// The values of a query parameter.
fn query(request: &Request<Incoming>, key: &str) -> Vec<String> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    pairs
        .filter_map(|pair| pair.split_once('=').or(Some((pair, ""))))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| percent_decoded(value))
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let digits =
                    [rest.next(), rest.next()].map(|digit| digit.map_or('?', char::from).to_digit(16));
                match digits {
                    [Some(high), Some(low)] => u8::try_from(high * 16 + low).unwrap_or(b'?'),
                    _ => b'?',
                }
            }
            b'+' => b' ',
            other => other,
        };
        bytes.push(decoded);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The token of a listing: none, or exactly one that this server made.
fn page_token(request: &Request<Incoming>, limit: u16) -> Result<fleet_api::PageToken, Box<Reply>> {
    let tokens = query(request, "nextPageToken");
    match tokens.as_slice() {
        [] => Ok(fleet_api::PageToken::first(limit)),
        [token] => fleet_api::PageToken::decode(token, limit)
            .map_err(|refused| Box::new(error(StatusCode::BAD_REQUEST, &refused.to_string()))),
        _ => Err(Box::new(error(StatusCode::BAD_REQUEST, "too many values for nextPageToken"))),
    }
}
