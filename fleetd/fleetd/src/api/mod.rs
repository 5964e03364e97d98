//! The HTTP API: fleet's v1 under both its paths, Prometheus' figures, and what is ours (why, journal,
//! events, drain).
//!
//! On a unix socket everyone who may open it is an administrator. On TCP a client's certificate says what
//! it may do ([`CertificateRole`]): everything, only read, or, for a machine, read and see to its own
//! membership. Without a certificate one may ask for the authority's and join with a token, nothing else.

mod discovery;
mod journal;
mod listen;
mod machines;
mod membership;
mod ours;
pub(crate) mod peer;
mod reply;
mod states;
mod units;

use std::sync::{Arc, RwLock};

use anyhow::Result;
use fleet_join::{CertificateRole, Issued, Member};
use fleet_registry::{Registry, RegistryError};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::signer::Signer;

pub(crate) use listen::Identity;
pub(crate) use listen::bind;
use reply::{Reply, error, error_of};

/// What a machine is told that was removed. One that has lost sight of the store stops its units on it.
pub(crate) const NO_MEMBER: &str = "is no member of the cluster any more";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// By a certificate, or because it may open the socket.
    Known(CertificateRole),
    /// Shows no certificate.
    Nobody,
}

/// What requests are answered from. Clones share everything.
#[derive(Clone)]
pub(crate) struct Api {
    registry: Registry,
    machine: String,
    token_limit: u16,
    metrics: Arc<Metrics>,
    identity: Arc<RwLock<Option<Identity>>>,
    signer: Arc<RwLock<Signer>>,
    member_life: time::Duration,
}

impl Api {
    pub(crate) fn new(registry: Registry, config: &Config, metrics: Arc<Metrics>) -> Result<Self> {
        let identity = Arc::new(RwLock::new(Identity::load(config)?));
        let signer = Arc::new(RwLock::new(signer_of(config)?));
        Ok(Self {
            registry,
            machine: config.machine_id.clone(),
            token_limit: config.token_limit,
            metrics,
            identity,
            signer,
            member_life: time::Duration::try_from(config.member_life).unwrap_or(fleet_join::MEMBER_LIFE),
        })
    }

    /// Reads the certificates again; connections that are open keep the old ones.
    pub(crate) fn reload(&self, config: &Config) -> Result<()> {
        let (identity, signer) = (Identity::load(config)?, signer_of(config)?);
        *self.signer.write().expect("no holder of this lock panics") = signer;
        *self.identity.write().expect("no holder of this lock panics") = identity;
        Ok(())
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity.read().expect("no holder of this lock panics").clone()
    }

    pub(crate) fn signer(&self) -> Signer {
        self.signer.read().expect("no holder of this lock panics").clone()
    }

    /// Notes in the store which certificate this machine holds, so that it can be revoked.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn note_certificate(
        &self,
        member: Member,
        issued: Issued,
        now: i64,
    ) -> Result<(), RegistryError> {
        self.registry.note_certificate(member, issued, now).await
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, role: Role, request: Request<Incoming>) -> Reply {
        self.metrics.request();
        let path = request.uri().path().to_owned();
        if let Err(message) = self.permit(&role, request.method(), &path).await {
            return error(StatusCode::FORBIDDEN, &message);
        }
        if path == "/metrics" {
            return reply::text(self.metrics.render(&self.registry.operations()));
        }
        if path == "/" {
            return error(StatusCode::METHOD_NOT_ALLOWED, "");
        }
        let inside = fleet_api::BASE_PATHS
            .iter()
            .find_map(|base| path.strip_prefix(base))
            .filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(inside) = inside else { return error(StatusCode::NOT_FOUND, "") };
        self.route(inside, &role, request).await
    }

    /// May this client do that?
    async fn permit(&self, role: &Role, method: &Method, path: &str) -> Result<(), String> {
        let inside = fleet_api::BASE_PATHS.iter().find_map(|base| path.strip_prefix(base)).unwrap_or(path);
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let role = match role {
            Role::Known(role) => role,
            Role::Nobody => {
                return match (method, inside) {
                    (&Method::GET, "/join/authority") | (&Method::POST, "/join") => Ok(()),
                    _ => Err(
                        "this needs a client certificate of the cluster: --ca-file, --cert-file, --key-file"
                            .into(),
                    ),
                };
            }
        };
        match role {
            CertificateRole::Admin => Ok(()),
            // A token is worth more than a look.
            _ if inside.starts_with("/join/tokens") => {
                Err("only an administrator's certificate shows join tokens".into())
            }
            CertificateRole::ReadOnly if reads => Ok(()),
            CertificateRole::ReadOnly => Err(format!(
                "this client's certificate has the organisational unit {}: it may only read",
                fleet_join::READ_ONLY
            )),
            CertificateRole::Machine { id, .. } => {
                match self.registry.is_removed(id).await {
                    Ok(false) => {}
                    Ok(true) => return Err(format!("machine {id} {NO_MEMBER}")),
                    Err(_) => {
                        return Err(format!(
                            "whether machine {id} is a member cannot be said: the store does not answer"
                        ));
                    }
                }
                let own = [format!("/machines/{id}"), format!("/drain/{id}")];
                // Another machine may pass a wish to join on to this one: the token decides.
                let may =
                    reads || ["/join", "/join/renew"].contains(&inside) || own.iter().any(|it| it == inside);
                if may {
                    Ok(())
                } else {
                    Err(format!("machine {id} may not do that: it is no administrator"))
                }
            }
        }
    }

    async fn route(&self, inside: &str, role: &Role, request: Request<Incoming>) -> Reply {
        if inside.is_empty() {
            return error(StatusCode::METHOD_NOT_ALLOWED, "");
        }
        let mut parts = inside.trim_start_matches('/').splitn(2, '/');
        let (resource, item) = (parts.next().unwrap_or_default(), parts.next());
        // As fleet: a collection has no slash at its end, an item none inside.
        let collections = ["units", "state", "machines"];
        if collections.contains(&resource) && item.is_some_and(|it| it.is_empty() || it.contains('/')) {
            return error(StatusCode::NOT_FOUND, "");
        }
        let item = item.filter(|item| !item.is_empty());
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
            ("machines", Some(id)) => self.machine(id, role, &request).await,
            ("join", item) => self.join_resource(item, role, request).await,
            ("discovery", None) => reply::json(&discovery::document()),
            ("why", Some(name)) => self.why(name).await,
            ("journal", Some(name)) => self.journal(name, &request).await,
            ("status", Some(name)) => self.status(name, &request).await,
            ("events", None) => self.events(),
            ("drain", Some(machine)) => self.drain(machine, request.method()).await,
            _ => error(StatusCode::NOT_FOUND, ""),
        }
    }
}

fn signer_of(config: &Config) -> Result<Signer> {
    Signer::load(config.tls[0].as_ref(), config.authority_key.as_ref())
}

/// A store that does not answer is 503, everything else that the registry refuses is 500.
fn store_error(failure: &RegistryError) -> Reply {
    match failure {
        RegistryError::NoUnit => error(StatusCode::NOT_FOUND, "unit does not exist"),
        RegistryError::Contended { .. } => error(StatusCode::CONFLICT, &failure.to_string()),
        RegistryError::Removed => error(StatusCode::FORBIDDEN, &failure.to_string()),
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
        _ => Err(Box::new(error(StatusCode::BAD_REQUEST, "too many values for page token"))),
    }
}
