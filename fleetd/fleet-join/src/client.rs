//! The joiner's and the member's side on the network: join, renew, leave. Every call has a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::wire::{AuthorityReply, JoinReply, JoinRequest, RenewRequest};
use crate::{JoinToken, MemberRole, PkiError, SigningRequest, canonical_pem, digest_of};

const BASE: &str = "/fleet/v1";
const LONGEST_ANSWER: usize = 256 * 1024;
/// One member that does not answer must not use up the time for the others.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A wish to become a member.
#[derive(Clone, Debug)]
pub struct JoinOrder<'a> {
    /// Members to ask, `host:port`, in this order.
    pub members: &'a [String],
    /// The invitation.
    pub token: &'a JoinToken,
    /// Id of this machine.
    pub machine_id: &'a str,
    /// Host names and addresses that the certificate is to carry.
    pub names: &'a [String],
    /// For everything together.
    pub limit: Duration,
}

/// A wish for the next certificate.
#[derive(Clone, Debug)]
pub struct RenewOrder<'a> {
    /// Members to ask, `host:port`, in this order.
    pub members: &'a [String],
    /// Where the present certificate lies.
    pub identity: &'a crate::Identity,
    /// Id of this machine.
    pub machine_id: &'a str,
    /// Host names and addresses that the certificate is to carry; none: those of the present one.
    pub names: &'a [String],
    /// For everything together.
    pub limit: Duration,
}

/// What a member has.
#[derive(Clone, PartialEq, Eq)]
pub struct Joined {
    /// The authority's certificate, PEM.
    pub authority: String,
    /// The member's own, PEM.
    pub certificate: String,
    /// Its key, PEM; made on board.
    pub key: String,
    /// What it is.
    pub role: MemberRole,
    /// The authority's key, PEM; managers only.
    pub authority_key: Option<String>,
}

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").field("role", &self.role).finish_non_exhaustive()
    }
}

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The member is another cluster's, or somebody stands in between.
    #[error("{member} is not of the cluster that the token invites to: its authority's digest differs")]
    WrongAuthority {
        /// Who answered.
        member: String,
    },
    /// The cluster said no.
    #[error("{member} refused: {message}")]
    Refused {
        /// Who answered.
        member: String,
        /// The HTTP status.
        code: u16,
        /// Its reason.
        message: String,
    },
    /// Nobody answered properly.
    #[error("no member could be asked: {0}")]
    Unreachable(String),
    /// Nobody was named.
    #[error("no member was named to ask: give host:port of one")]
    NoMembers,
    /// No key, or a useless answer.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The files of the present certificate.
    #[error(transparent)]
    Identity(#[from] crate::IdentityError),
}

/// What may be tried again with another member, and what may not.
enum Attempt {
    Elsewhere(String),
    Final(JoinError),
}

impl From<JoinError> for Attempt {
    fn from(error: JoinError) -> Self {
        Self::Final(error)
    }
}

/// How the members' authority is known.
enum Trust {
    /// By its digest.
    Token(JoinToken),
    /// From before.
    Known(CertificateDer<'static>),
}

/// One request that any member can answer.
struct Errand {
    trust: Trust,
    /// The certificate to show.
    own: Option<Own>,
    method: Method,
    path: String,
    body: Vec<u8>,
}

/// Who answered, what, and by which authority.
struct Answered {
    member: String,
    reply: Vec<u8>,
    authority: CertificateDer<'static>,
}

/// Becomes a member: asks one after the other until one signs.
///
/// # Errors
/// A member refused (wrong, rotated or expired token), is not of this cluster, or nobody answered.
pub async fn join(order: &JoinOrder<'_>) -> Result<Joined, JoinError> {
    let request = SigningRequest::create(order.machine_id)?;
    let body = JoinRequest {
        token: order.token.to_string(),
        machine_id: order.machine_id.to_owned(),
        names: order.names.to_vec(),
        request: request.request,
    };
    let errand = Errand {
        trust: Trust::Token(*order.token),
        own: None,
        method: Method::POST,
        path: format!("{BASE}/join"),
        body: serde_json::to_vec(&body).expect("a request holds only strings"),
    };
    joined(ask_each(order.members, order.limit, &errand).await?, request.key)
}

/// Asks for the next certificate, with a new key; the present one is the proof.
///
/// # Errors
/// A member refused (this machine was removed), or nobody answered.
pub async fn renew(order: &RenewOrder<'_>) -> Result<Joined, JoinError> {
    let request = SigningRequest::create(order.machine_id)?;
    let body = RenewRequest { names: order.names.to_vec(), request: request.request };
    let errand = Errand {
        trust: Trust::Known(order.identity.authority()?),
        own: Some(order.identity.load()?),
        method: Method::POST,
        path: format!("{BASE}/join/renew"),
        body: serde_json::to_vec(&body).expect("a request holds only strings"),
    };
    joined(ask_each(order.members, order.limit, &errand).await?, request.key)
}

/// Tells the cluster that this machine is no member any more.
///
/// # Errors
/// A member refused, or nobody answered.
pub async fn leave(order: &RenewOrder<'_>) -> Result<(), JoinError> {
    let errand = Errand {
        trust: Trust::Known(order.identity.authority()?),
        own: Some(order.identity.load()?),
        method: Method::DELETE,
        path: format!("{BASE}/machines/{}?force=true", order.machine_id),
        body: Vec::new(),
    };
    ask_each(order.members, order.limit, &errand).await.map(drop)
}

async fn ask_each(members: &[String], limit: Duration, errand: &Errand) -> Result<Answered, JoinError> {
    let deadline = Instant::now() + limit;
    let mut failures = Vec::new();
    for member in members {
        match tokio::time::timeout_at(deadline, errand.ask(member)).await {
            Ok(Ok(answered)) => return Ok(answered),
            Ok(Err(Attempt::Final(error))) => return Err(error),
            Ok(Err(Attempt::Elsewhere(reason))) => failures.push(format!("{member}: {reason}")),
            Err(_) => {
                failures.push(format!("{member}: no answer within {limit:?} altogether"));
                break;
            }
        }
    }
    Err(if members.is_empty() { JoinError::NoMembers } else { JoinError::Unreachable(failures.join("; ")) })
}

impl Errand {
    async fn ask(&self, member: &str) -> Result<Answered, Attempt> {
        let authority = match &self.trust {
            Trust::Token(token) => trusted_authority(member, token).await?,
            Trust::Known(known) => known.clone(),
        };
        let own = self.own.as_ref().map(|(chain, key)| (chain.clone(), key.clone_key()));
        let config = config_with(&authority, own)?;
        let reply = ask(member, config, self.method.clone(), &self.path, self.body.clone()).await?;
        Ok(Answered { member: member.to_owned(), reply, authority })
    }
}

/// The authority's certificate, over TLS that nothing can be said of yet, if the token names it.
async fn trusted_authority(member: &str, token: &JoinToken) -> Result<CertificateDer<'static>, Attempt> {
    let path = format!("{BASE}/join/authority");
    let reply = ask(member, unchecked(), Method::GET, &path, Vec::new()).await?;
    let reply: AuthorityReply = understood(&reply).map_err(Attempt::Elsewhere)?;
    let authority = canonical_pem(&reply.authority).map_err(JoinError::from)?;
    if digest_of(&authority) != token.authority {
        return Err(JoinError::WrongAuthority { member: member.to_owned() }.into());
    }
    let unreadable = |error: rustls::pki_types::pem::Error| PkiError::ReadCertificate(error.to_string());
    Ok(CertificateDer::from_pem_slice(authority.as_bytes()).map_err(unreadable).map_err(JoinError::from)?)
}

/// The certificate must be of the authority that the conversation was checked by, whatever is said.
fn joined(answered: Answered, key: String) -> Result<Joined, JoinError> {
    let Answered { member, reply, authority } = answered;
    let reply: JoinReply =
        understood(&reply).map_err(|reason| JoinError::Unreachable(format!("{member}: {reason}")))?;
    let said = canonical_pem(&reply.authority)?;
    if CertificateDer::from_pem_slice(said.as_bytes()).ok().as_ref() != Some(&authority) {
        return Err(JoinError::WrongAuthority { member });
    }
    Ok(Joined {
        authority: said,
        certificate: reply.certificate,
        key,
        role: reply.role,
        authority_key: reply.authority_key,
    })
}

fn understood<T: serde::de::DeserializeOwned>(reply: &[u8]) -> Result<T, String> {
    serde_json::from_slice(reply)
        .map_err(|error| format!("it answers something else than fleetd does: {error}"))
}

async fn ask(
    member: &str,
    config: Arc<ClientConfig>,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Vec<u8>, Attempt> {
    let elsewhere = |error: &dyn std::fmt::Display| Attempt::Elsewhere(error.to_string());
    let stream = tokio::time::timeout(CONNECT_LIMIT, connect(member))
        .await
        .map_err(|_| Attempt::Elsewhere(format!("no connection within {CONNECT_LIMIT:?}")))?
        .map_err(|error| elsewhere(&error))?;
    // The certificate is judged by who signed it: a member may be reached under any address.
    let name = ServerName::IpAddress(stream.peer_addr().map_err(|error| elsewhere(&error))?.ip().into());
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| elsewhere(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| elsewhere(&error))?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, member)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| elsewhere(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| elsewhere(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
    connection.abort();
    let body = body.map_err(|error| elsewhere(&error))?.to_bytes();
    if status.is_success() {
        return Ok(body.to_vec());
    }
    let message = serde_json::from_slice::<serde_json::Value>(&body)
        .ok()
        .and_then(|reply| reply["error"]["message"].as_str().map(str::to_owned))
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| status.to_string());
    // A store that does not answer may answer another member; a refusal is the cluster's.
    if status.is_server_error() || status == StatusCode::NOT_FOUND {
        return Err(Attempt::Elsewhere(message));
    }
    Err(JoinError::Refused { member: member.to_owned(), code: status.as_u16(), message }.into())
}

async fn connect(member: &str) -> std::io::Result<TcpStream> {
    let (host, port) = member.rsplit_once(':').ok_or_else(|| std::io::Error::other("it is not host:port"))?;
    let port: u16 = port.parse().map_err(|_| std::io::Error::other("its port is no number"))?;
    let mut failure = std::io::Error::other("the name has no address");
    for address in kv_client::resolve::lookup(host.trim_matches(['[', ']'])).await? {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn config_with(authority: &CertificateDer<'static>, own: Option<Own>) -> Result<Arc<ClientConfig>, Attempt> {
    let unreadable = |error: rustls::Error| JoinError::from(PkiError::ReadCertificate(error.to_string()));
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(unreadable)?;
    let verifier = SignedBy { roots: Some(roots), algorithms: provider().signature_verification_algorithms };
    let builder = builder(verifier);
    let config = match own {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unreadable)?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn unchecked() -> Arc<ClientConfig> {
    let verifier = SignedBy { roots: None, algorithms: provider().signature_verification_algorithms };
    Arc::new(builder(verifier).with_no_client_auth())
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

fn builder(verifier: SignedBy) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

/// Accepts whoever holds a server certificate of the authority, under whatever name; without an
/// authority, everybody: what comes that way is compared with a digest.
#[derive(Debug)]
struct SignedBy {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for SignedBy {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = rustls::server::ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
