//! Plain HTTP beside gRPC: health, version, metrics, and the way to the gateway and to v2. Which port answers what.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use kv_api::{ETCD_CLUSTER_VERSION, ETCD_VERSION, internal::peer_server::PeerServer};
use serde_json::json;
use tonic::service::Routes;

use crate::{
    config::Connections,
    gateway::Gateway,
    grpc::Services,
    health, metrics,
    peer::Answering,
    serve::{Body, Handler, full, grpc, is_grpc},
    server::Core,
    v2,
};

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A reply with a body of this type.
pub(crate) fn reply(status: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

fn not_found() -> Response<Body> {
    reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")
}

/// A request read whole.
pub(crate) struct Whole {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) async fn whole(request: Request<Incoming>, most: usize) -> Result<Whole, Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|_| {
        reply(
            StatusCode::PAYLOAD_TOO_LARGE,
            "text/plain",
            "the request is larger than --max-request-bytes allows\n",
        )
    })?;
    Ok(Whole {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    })
}

/// Where clients come in.
#[derive(Clone)]
pub(crate) struct ClientPort {
    pub(crate) core: Arc<Core>,
    pub(crate) services: Services,
    /// None where it is turned off.
    pub(crate) gateway: Option<Arc<Gateway>>,
}

impl Handler for ClientPort {
    fn handle(&self, request: Request<Incoming>) -> Answer {
        if is_grpc(&request) {
            let services = self.services.clone();
            return Box::pin(async move { services.call(request).await });
        }
        let (core, gateway) = (self.core.clone(), self.gateway.clone());
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            if let Some(there) = elsewhere(&path) {
                return moved(&there, request.method());
            }
            if let Some(answer) =
                plain(&core, request.method(), &path, request.uri().query().unwrap_or("")).await
            {
                return answer;
            }
            let most = core.config.max_request_bytes * 2;
            let request = match whole(request, most).await {
                Ok(request) => request,
                Err(refusal) => return refusal,
            };
            if let Some(gateway) =
                gateway.filter(|_| ["/v3/", "/v3beta/"].iter().any(|at| path.starts_with(at)))
            {
                return gateway.answer(request).await;
            }
            if core.config.enable_v2
                && (path == "/v2"
                    || path.starts_with("/v2/")
                    || path.starts_with("/v1/clusters")
                    || path == "/new"
                    || v2::is_token(&path))
            {
                return v2::answer(core, request).await;
            }
            not_found()
        })
    }

    fn connections(&self) -> Connections {
        self.core.config.connections
    }
}

/// A port for metrics and health only.
#[derive(Clone)]
pub(crate) struct MetricsPort(pub(crate) Arc<Core>);

impl Handler for MetricsPort {
    fn handle(&self, request: Request<Incoming>) -> Answer {
        let core = self.0.clone();
        Box::pin(async move {
            let query = request.uri().query().unwrap_or("").to_owned();
            plain(&core, request.method(), request.uri().path(), &query).await.unwrap_or_else(not_found)
        })
    }
}

/// Where members come in. It answers the list of members once there is a core.
#[derive(Clone)]
pub(crate) struct PeerPort {
    routes: Routes,
    answering: Answering,
    core: Arc<OnceLock<Arc<Core>>>,
}

impl PeerPort {
    pub(crate) fn new(answering: Answering) -> Self {
        let server = PeerServer::new(answering.clone());
        let server = server.max_decoding_message_size(256 << 20).max_encoding_message_size(256 << 20);
        Self { routes: Routes::new(server), answering, core: Arc::default() }
    }

    pub(crate) fn serve(&self, core: Arc<Core>) {
        let _ = self.core.set(core);
    }
}

impl Handler for PeerPort {
    fn lines(&self) -> Option<&Answering> {
        Some(&self.answering)
    }

    fn handle(&self, request: Request<Incoming>) -> Answer {
        if is_grpc(&request) {
            return Box::pin(grpc(self.routes.clone(), request));
        }
        let core = self.core.clone();
        Box::pin(async move {
            let Some(core) = core.get() else {
                return reply(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "starting\n");
            };
            match request.uri().path() {
                "/members" => members(core),
                "/version" => version(),
                _ => not_found(),
            }
        })
    }
}

/// The one form of a path, if it is not in it: no empty, `.` or `..` parts; a slash at the end stays.
fn elsewhere(path: &str) -> Option<String> {
    let mut clean = kv_core::v2::clean(path);
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

fn moved(there: &str, method: &Method) -> Response<Body> {
    let text = format!("<a href=\"{there}\">Moved Permanently</a>.\n\n");
    let mut response = Response::new(full(if method == Method::GET { text } else { String::new() }));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(there) = there.parse() {
        response.headers_mut().insert(http::header::LOCATION, there);
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        let kind = http::HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    }
    response
}

pub(crate) fn method_not_allowed() -> Response<Body> {
    let mut response =
        reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "Method Not Allowed\n");
    response.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static("GET"));
    response
}

fn members(core: &Core) -> Response<Body> {
    let members = core.node.view().members().unwrap_or_default();
    let listed: Vec<_> = members
        .into_iter()
        .map(|m| json!({"id": m.id, "peerURLs": m.peer_ur_ls, "name": m.name, "clientURLs": m.client_ur_ls, "isLearner": m.is_learner}))
        .collect();
    let mut response = reply(StatusCode::OK, "application/json", json!(listed).to_string());
    if let Ok(id) = format!("{:x}", core.cluster_id).parse() {
        response.headers_mut().insert("x-etcd-cluster-id", id);
    }
    response
}

fn version() -> Response<Body> {
    let text = json!({"etcdserver": ETCD_VERSION, "etcdcluster": ETCD_CLUSTER_VERSION}).to_string();
    reply(StatusCode::OK, "application/json", text)
}

async fn plain(core: &Core, method: &Method, path: &str, query: &str) -> Option<Response<Body>> {
    match path {
        "/version" if !matches!(*method, Method::GET | Method::HEAD) => Some(method_not_allowed()),
        "/version" => Some(version()),
        "/metrics" => {
            Some(reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::text(core)))
        }
        _ => health::answer(core, method, path, query).await,
    }
}
