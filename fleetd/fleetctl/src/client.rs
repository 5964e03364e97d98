//! One fleetd, over its unix socket, over mutual TLS, or through ssh.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleet_api::{ErrorReply, Machine, MachinePage, Unit, UnitPage, UnitState, UnitStatePage};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::cli::Global;
use crate::failure::Failure;
use crate::tunnel::{SshStream, through_ssh};

const BASE: &str = "/fleet/v1";

/// A way to one fleetd.
pub(crate) struct Client {
    way: Way,
    shown: String,
    limit: Duration,
    debug: bool,
}

/// How a daemon is reached.
pub(crate) enum Way {
    Unix(String),
    Tls {
        host: String,
        port: u16,
        config: Arc<rustls::ClientConfig>,
    },
    Plain {
        host: String,
        port: u16,
    },
    /// The words of an `ssh` whose standard streams end at fleetd, and TLS over these if it listens on TCP.
    Ssh {
        words: Vec<String>,
        tls: Option<(String, Arc<rustls::ClientConfig>)>,
    },
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let limit = Duration::try_from_secs_f64(global.request_timeout).map_err(|_| {
            Failure::Usage(format!("--request-timeout {} is no time", global.request_timeout))
        })?;
        refuse_etcd(global)?;
        // An ssh connection is part of each request.
        let more = if global.tunnel.is_some() { global.ssh_timeout } else { 0.0 };
        let limit = limit + Duration::try_from_secs_f64(more).unwrap_or_default();
        let (way, shown) = match &global.tunnel {
            Some(tunnel) => (
                through_ssh(global, tunnel, way_of(global)?)?,
                format!("{} (through ssh on {tunnel})", global.endpoint),
            ),
            None => (way_of(global)?, global.endpoint.clone()),
        };
        Ok(Self { way, shown, limit, debug: global.debug })
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.way {
            Way::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Way::Plain { host, port } => Box::new(tcp(host, *port).await?),
            Way::Tls { host, port, config } => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = tcp(host, *port).await?;
                Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?)
            }
            Way::Ssh { words, tls: None } => Box::new(SshStream::open(words)?),
            Way::Ssh { words, tls: Some((host, config)) } => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Box::new(TlsConnector::from(Arc::clone(config)).connect(name, SshStream::open(words)?).await?)
            }
        })
    }

    /// Asks; the head of the answer comes within the limit, its body as long as it takes.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, Failure> {
        if self.debug {
            eprintln!("{method} {path}");
        }
        let asked = tokio::time::timeout(self.limit, self.ask_now(method, path, body)).await;
        let at = || self.shown.clone();
        asked
            .map_err(|_| Failure::Timeout { at: at(), seconds: self.limit.as_secs_f64() })?
            .map_err(|error| Failure::Unreachable { at: at(), reason: error.to_string() })
    }

    async fn ask_now(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> io::Result<Response<Incoming>> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(format!("{BASE}{path}")).header("host", "fleetd");
        // What comes after a body says how the program ended that wrote it.
        request = request.header("te", "trailers");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request =
            request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        // The connection must outlive this call: the body is still to come.
        tokio::spawn(async move {
            let _ = sender.ready().await;
        });
        Ok(answer)
    }

    async fn whole(&self, answer: Response<Incoming>) -> Result<Vec<u8>, Failure> {
        let status = answer.status();
        let collected = tokio::time::timeout(self.limit, answer.into_body().collect()).await;
        let body = collected
            .map_err(|_| Failure::Timeout { at: self.shown.clone(), seconds: self.limit.as_secs_f64() })?
            .map_err(|error| Failure::Protocol(error.to_string()))?
            .to_bytes();
        if status.is_success() {
            return Ok(body.to_vec());
        }
        let message =
            serde_json::from_slice::<ErrorReply>(&body).map(|reply| reply.error.message).unwrap_or_default();
        let message = if message.is_empty() { status.to_string() } else { message };
        Err(Failure::Api { code: status.as_u16(), message })
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let body = self.whole(self.ask(Method::GET, path, None).await?).await?;
        serde_json::from_slice(&body).map_err(|error| Failure::Protocol(error.to_string()))
    }

    /// All units.
    pub(crate) async fn units(&self) -> Result<Vec<Unit>, Failure> {
        let mut all = Vec::new();
        let mut path = "/units".to_owned();
        loop {
            let page: UnitPage = self.get(&path).await?;
            all.extend(page.units);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            path = format!("/units?nextPageToken={}", page.next_page_token);
        }
    }

    /// One unit, if it is there.
    pub(crate) async fn unit(&self, name: &str) -> Result<Option<Unit>, Failure> {
        match self.get(&format!("/units/{name}")).await {
            Ok(unit) => Ok(Some(unit)),
            Err(Failure::Api { code: 404, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// States, of all units or of one.
    pub(crate) async fn states(&self, unit: Option<&str>) -> Result<Vec<UnitState>, Failure> {
        let filter = unit.map(|unit| format!("unitName={unit}")).unwrap_or_default();
        let mut all = Vec::new();
        let mut path = format!("/state?{filter}");
        loop {
            let page: UnitStatePage = self.get(&path).await?;
            all.extend(page.states);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            path = format!("/state?{filter}&nextPageToken={}", page.next_page_token);
        }
    }

    /// All machines.
    pub(crate) async fn machines(&self) -> Result<Vec<Machine>, Failure> {
        let mut all = Vec::new();
        let mut path = "/machines".to_owned();
        loop {
            let page: MachinePage = self.get(&path).await?;
            all.extend(page.machines);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            path = format!("/machines?nextPageToken={}", page.next_page_token);
        }
    }

    /// Puts a unit, or only its desired state.
    pub(crate) async fn put_unit(&self, unit: &Unit) -> Result<(), Failure> {
        let body = serde_json::to_vec(unit).map_err(|error| Failure::Protocol(error.to_string()))?;
        self.whole(self.ask(Method::PUT, &format!("/units/{}", unit.name), Some(body)).await?).await.map(drop)
    }

    /// Destroys a unit.
    pub(crate) async fn delete_unit(&self, name: &str) -> Result<(), Failure> {
        self.whole(self.ask(Method::DELETE, &format!("/units/{name}"), None).await?).await.map(drop)
    }

    /// Why a unit is where it is.
    pub(crate) async fn why(&self, name: &str) -> Result<fleet_api::Why, Failure> {
        self.get(&format!("/why/{name}")).await
    }

    /// Drains a machine, or ends that.
    pub(crate) async fn set_draining(&self, machine: &str, draining: bool) -> Result<(), Failure> {
        let method = if draining { Method::PUT } else { Method::DELETE };
        self.whole(self.ask(method, &format!("/drain/{machine}"), None).await?).await.map(drop)
    }

    /// The join tokens.
    pub(crate) async fn tokens(&self) -> Result<fleet_join::TokenReply, Failure> {
        self.get("/join/tokens").await
    }

    /// Puts a new token in the place of a role's, and tells both.
    pub(crate) async fn rotate_token(
        &self,
        role: fleet_join::MemberRole,
        valid_seconds: Option<u32>,
    ) -> Result<fleet_join::TokenReply, Failure> {
        let wish = fleet_join::RotateRequest { valid_seconds };
        let body = serde_json::to_vec(&wish).map_err(|error| Failure::Protocol(error.to_string()))?;
        let asked = self.ask(Method::POST, &format!("/join/tokens/{role}/rotate"), Some(body)).await?;
        serde_json::from_slice(&self.whole(asked).await?)
            .map_err(|error| Failure::Protocol(error.to_string()))
    }

    /// The machines that were let in.
    pub(crate) async fn members(&self) -> Result<fleet_join::MemberPage, Failure> {
        self.get("/join/members").await
    }

    /// Takes a machine out of the cluster.
    pub(crate) async fn remove_machine(&self, id: &str, force: bool) -> Result<(), Failure> {
        let path = format!("/machines/{id}{}", if force { "?force=true" } else { "" });
        self.whole(self.ask(Method::DELETE, &path, None).await?).await.map(drop)
    }

    /// Hands on what comes, until it ends; tells how the program ended that said it, where there was one.
    pub(crate) async fn stream(&self, path: &str, mut each: impl FnMut(&[u8])) -> Result<u8, Failure> {
        let answer = self.ask(Method::GET, path, None).await?;
        if answer.status() != StatusCode::OK {
            return self.whole(answer).await.map(|_| 0);
        }
        let mut code = 0;
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::Protocol(error.to_string()))?;
            if let Some(data) = frame.data_ref() {
                each(data);
            } else if let Ok(trailers) = frame.into_trailers() {
                let said =
                    trailers.get(fleet_api::EXIT_CODE).and_then(|code| code.to_str().ok()?.parse().ok());
                code = said.unwrap_or(code);
            }
        }
        Ok(code)
    }
}

/// What was for a fleetctl that spoke to etcd itself.
fn refuse_etcd(global: &Global) -> Result<(), Failure> {
    if !global.driver.eq_ignore_ascii_case("api") {
        let driver = &global.driver;
        return Err(Failure::Usage(format!(
            "--driver {driver} is not supported: fleetctl asks fleetd, not its store; name one with --endpoint"
        )));
    }
    let files = [&global.etcd_keyfile, &global.etcd_certfile, &global.etcd_cafile];
    if files.iter().any(|file| file.is_some()) {
        eprintln!(
            "WARNING: --etcd-keyfile, --etcd-certfile and --etcd-cafile are ignored: \
             use --key-file, --cert-file and --ca-file, which are for fleetd"
        );
    }
    let unused = [&global.etcd_key_prefix, &global.experimental_api];
    if global.debug && unused.iter().any(|flag| flag.is_some()) {
        eprintln!("--etcd-key-prefix and --experimental-api change nothing");
    }
    Ok(())
}

/// The name is looked up without getaddrinfo, which a static program does not have.
async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::other(format!("{host} has no address"));
    for address in kv_client::resolve::lookup(host.trim_matches(['[', ']'])).await? {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn way_of(global: &Global) -> Result<Way, Failure> {
    let mut endpoints = global.endpoint.split(',');
    let endpoint = endpoints.next().unwrap_or_default();
    if endpoints.next().is_some() {
        eprintln!("WARNING: multiple endpoints provided but only the first ({endpoint}) is used");
    }
    let socket =
        ["unix://", "file://"].into_iter().find_map(|scheme| Some((scheme, endpoint.strip_prefix(scheme)?)));
    if let Some((scheme, path)) = socket {
        // Who forgets the third slash means a path, and names a host.
        let host = path.split('/').next().unwrap_or_default();
        if !host.is_empty() {
            let scheme = scheme.trim_end_matches("://");
            let message = format!(
                "unable to connect to host \"{host}\" with scheme \"{scheme}\"; write {scheme}:///{path}"
            );
            return Err(Failure::Usage(message));
        }
        return Ok(Way::Unix(path.to_owned()));
    }
    if endpoint.starts_with('/') {
        return Ok(Way::Unix(endpoint.to_owned()));
    }
    let (is_tls, rest) = match endpoint.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        _ => {
            let message =
                format!("--endpoint {endpoint} is not unix:///path, https://host:port or http://host:port");
            return Err(Failure::Usage(message));
        }
    };
    let address = rest.trim_end_matches('/');
    let default = if is_tls { 49153 } else { 80 };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (
            host,
            port.parse()
                .map_err(|_| Failure::Usage(format!("--endpoint {endpoint}: `{port}` is no port")))?,
        ),
        _ => (address, default),
    };
    if [2379, 4001].contains(&port) {
        return Err(Failure::Usage(format!(
            "--endpoint {endpoint} appears to be etcd: fleetctl asks fleetd, not its store"
        )));
    }
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(if is_tls { Way::Tls { host, port, config: tls(global)? } } else { Way::Plain { host, port } })
}

fn tls(global: &Global) -> Result<Arc<rustls::ClientConfig>, Failure> {
    let read = |path: &str, reason: String| Failure::Read { path: path.to_owned(), reason };
    let Some(ca) = global.ca_file.as_deref() else {
        let message =
            "an https endpoint needs --ca-file, --cert-file and --key-file (`rmachine env --fleet NAME`)";
        return Err(Failure::Usage(message.into()));
    };
    let certificates = |path: &str| -> Result<Vec<CertificateDer<'static>>, Failure> {
        CertificateDer::pem_file_iter(Path::new(path))
            .and_then(Iterator::collect)
            .map_err(|error: rustls::pki_types::pem::Error| read(path, error.to_string()))
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| read(ca, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Usage(error.to_string()))?
        .with_root_certificates(roots);
    let config = match (&global.cert_file, &global.key_file) {
        (Some(cert), Some(key)) => {
            let private =
                PrivateKeyDer::from_pem_file(Path::new(key)).map_err(|error| read(key, error.to_string()))?;
            builder
                .with_client_auth_cert(certificates(cert)?, private)
                .map_err(|error| read(cert, error.to_string()))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}
