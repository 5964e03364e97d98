//! A token service over HTTP: CoreOS's discovery protocol (version 2 keys below a token) and Docker's
//! swarm tokens, for members of any etcd and for `swarm join`.
//!
//! - `GET` or `PUT /new?size=N` answers the URL of a new token
//! - `/TOKEN/_config/size`, `/TOKEN`, `/TOKEN/MEMBER` are keys, as also below `/v2/keys`; `wait=true`
//!   waits for the next founder
//! - `POST /v1/clusters` answers a new token; `POST` an entry to `/v1/clusters/TOKEN`, `GET` them
//!
//! It holds no secrets, and knowing a token is the only right there is.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::registry::{ENTRY_LIFE, Refusal, Registry};

const LARGEST_BODY: usize = 8 * 1024;
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// A client that waits asks again after this.
const WAIT: Duration = Duration::from_secs(60);
/// Connections at once; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 512;

/// A token service.
pub struct Service {
    registry: Mutex<Registry>,
    /// Grows with every founder.
    index: watch::Sender<u64>,
    /// Where tokens outlive the service, if anywhere.
    kept: Option<PathBuf>,
}

type Answer = Response<Full<Bytes>>;

impl Service {
    /// With the tokens kept in that file, if it is there.
    #[must_use]
    pub fn new(kept: Option<PathBuf>) -> Self {
        let read = kept.as_deref().and_then(|path| std::fs::read(path).ok());
        let registry: Registry = read.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let index = watch::Sender::new(registry.index());
        Self { registry: Mutex::new(registry), index, kept }
    }

    /// Serves until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let limit = Arc::new(tokio::sync::Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let service = Arc::clone(&self);
            tokio::spawn(async move {
                let answer = service_fn(|request| {
                    let service = Arc::clone(&service);
                    async move { Ok::<_, Infallible>(service.answer(request).await) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_LIMIT)
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
                drop((served, permit));
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = match tokio::time::timeout(HEADER_LIMIT, Limited::new(body, LARGEST_BODY).collect()).await
        {
            Ok(Ok(body)) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            _ => return text(StatusCode::BAD_REQUEST, "the body is too long or too slow\n"),
        };
        let host = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        let query = parts.uri.query().unwrap_or("");
        let path = parts.uri.path().trim_end_matches('/');
        if path == "/new" && (parts.method == Method::GET || parts.method == Method::PUT) {
            let size = match field(query, "size").map(|size| size.parse()) {
                None => 3,
                Some(Ok(size)) => size,
                Some(Err(_)) => return text(StatusCode::BAD_REQUEST, "the size is not a number\n"),
            };
            return match self.create(Some(size)) {
                Ok(token) => text(StatusCode::OK, &format!("http://{host}/{token}")),
                Err(refusal) => text(StatusCode::BAD_REQUEST, &format!("{refusal}\n")),
            };
        }
        if let Some(rest) = path.strip_prefix("/v1/clusters") {
            return self.swarm(&parts.method, rest.trim_start_matches('/'), query, body.trim());
        }
        let prefixes = ["/v2/keys/_etcd/registry", "/v2/keys/discovery", "/v2/keys", ""];
        let below = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
        let mut words = below.trim_start_matches('/').splitn(2, '/');
        let (token, key) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        self.keys(&parts.method, token, key, query, &body).await
    }

    fn create(&self, size: Option<usize>) -> Result<String, Refusal> {
        let token = format!("{:032x}", rand::random::<u128>());
        self.change(|registry| registry.create(token.clone(), size, now()))?;
        Ok(token)
    }

    fn swarm(&self, method: &Method, path: &str, query: &str, body: &str) -> Answer {
        let (token, entry) = path.split_once('/').unwrap_or((path, ""));
        let done = match (method, token, entry) {
            (&Method::POST, "", _) => {
                return match self.create(field(query, "size").and_then(|size| size.parse().ok())) {
                    Ok(token) => text(StatusCode::OK, &format!("\"{token}\"")),
                    Err(refusal) => refused(refusal),
                };
            }
            (&Method::GET, token, "") => {
                let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
                return match registry.listed(token, now()) {
                    Ok(entries) => reply(StatusCode::OK, &json!(entries), 0),
                    Err(refusal) => refused(refusal),
                };
            }
            (&Method::POST, token, "") => {
                let life = field(query, "ttl").and_then(|life| life.parse().ok()).unwrap_or(ENTRY_LIFE);
                self.change(|registry| registry.list(token, body, life, now()))
            }
            (&Method::DELETE, token, "") => self.change(|registry| registry.remove(token)),
            (&Method::DELETE, token, entry) => self.change(|registry| registry.unlist(token, entry)),
            _ => return text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"),
        };
        match done {
            Ok(()) => text(StatusCode::OK, "OK"),
            Err(refusal) => refused(refusal),
        }
    }

    async fn keys(&self, method: &Method, token: &str, key: &str, query: &str, body: &str) -> Answer {
        let is_size = key == "_config/size";
        match *method {
            Method::GET if field(query, "wait").as_deref() == Some("true") => self.wait(token, query).await,
            Method::GET => self.get(token, key),
            Method::PUT => {
                let value = field(body, "value").or_else(|| field(query, "value")).unwrap_or_default();
                let done = if is_size {
                    let size = value.parse().map_err(|_| Refusal::Value);
                    size.and_then(|size| self.change(|registry| registry.set_size(token, size))).map(|()| 0)
                } else if key.is_empty() || key.contains('/') || key.starts_with('_') {
                    Err(Refusal::Value)
                } else {
                    self.change(|registry| registry.found(token, key, &value)).map(|founder| founder.created)
                };
                match done {
                    Ok(created) => {
                        let node = node(token, key, &value, created);
                        reply(StatusCode::CREATED, &json!({ "action": "create", "node": node }), self.now())
                    }
                    Err(refusal) => self.failure(refusal, token, key),
                }
            }
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n"),
        }
    }

    fn get(&self, token: &str, key: &str) -> Answer {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match key {
            "" => registry.founders(token).map(|founders| {
                let nodes: Vec<Value> = founders
                    .iter()
                    .map(|(member, founder)| node(token, member, &founder.value, founder.created))
                    .collect();
                json!({ "key": format!("/{token}"), "dir": true, "nodes": nodes })
            }),
            "_config/size" => registry.size(token).map(|size| node(token, key, &size.to_string(), 0)),
            member => registry.founders(token).and_then(|founders| {
                let founder = founders.get(member).ok_or(Refusal::NotFound)?;
                Ok(node(token, member, &founder.value, founder.created))
            }),
        };
        drop(registry);
        match found {
            Ok(node) => reply(StatusCode::OK, &json!({ "action": "get", "node": node }), self.now()),
            Err(refusal) => self.failure(refusal, token, key),
        }
    }

    /// The first founder after `waitIndex`, as soon as there is one.
    async fn wait(&self, token: &str, query: &str) -> Answer {
        let after = field(query, "waitIndex").and_then(|index| index.parse().ok()).unwrap_or(self.now() + 1);
        let mut index = self.index.subscribe();
        let end = tokio::time::Instant::now() + WAIT;
        loop {
            index.borrow_and_update();
            let next = {
                let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
                let founders = match registry.founders(token) {
                    Ok(founders) => founders,
                    Err(refusal) => {
                        drop(registry);
                        return self.failure(refusal, token, "");
                    }
                };
                let later = founders.iter().filter(|(_, founder)| founder.created >= after);
                later
                    .min_by_key(|(_, founder)| founder.created)
                    .map(|(member, founder)| node(token, member, &founder.value, founder.created))
            };
            if let Some(node) = next {
                return reply(StatusCode::OK, &json!({ "action": "create", "node": node }), self.now());
            }
            if tokio::time::timeout_at(end, index.changed()).await.is_err() {
                // etcd's servers end a watch without an answer as well; clients ask again.
                return reply(StatusCode::OK, &Value::Null, self.now());
            }
        }
    }

    fn now(&self) -> u64 {
        *self.index.borrow()
    }

    fn change<T>(&self, work: impl FnOnce(&mut Registry) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut registry)?;
        if let Some(path) = &self.kept {
            let beside = path.with_extension("new");
            let text = serde_json::to_vec(&*registry).expect("a registry is plain JSON");
            if let Err(error) = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path)) {
                tracing::warn!(path = %path.display(), %error, "tokens are not kept");
            }
        }
        self.index.send_replace(registry.index());
        Ok(done)
    }

    fn failure(&self, refusal: Refusal, token: &str, key: &str) -> Answer {
        let (status, code) = match refusal {
            Refusal::NotFound => (StatusCode::NOT_FOUND, 100),
            Refusal::Exists => (StatusCode::PRECONDITION_FAILED, 105),
            Refusal::Full => (StatusCode::FORBIDDEN, 107),
            Refusal::Value => (StatusCode::BAD_REQUEST, 209),
        };
        let cause = format!("/{token}/{key}").trim_end_matches('/').to_owned();
        let index = self.now();
        let said = json!({
            "errorCode": code, "message": refusal.to_string(), "cause": cause, "index": index,
        });
        reply(status, &said, index)
    }
}

fn node(token: &str, key: &str, value: &str, created: u64) -> Value {
    json!({
        "key": format!("/{token}/{key}"), "value": value, "createdIndex": created, "modifiedIndex": created,
    })
}

fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::NotFound => text(StatusCode::NOT_FOUND, "no such token\n"),
        Refusal::Value => text(StatusCode::BAD_REQUEST, "the body must be HOST:PORT\n"),
        other => text(StatusCode::FORBIDDEN, &format!("{other}\n")),
    }
}

fn text(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::from(text.to_owned()));
    *answer.status_mut() = status;
    answer
}

fn reply(status: StatusCode, value: &Value, index: u64) -> Answer {
    let mut answer = text(status, &if value.is_null() { String::new() } else { value.to_string() });
    let headers = answer.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert("x-etcd-index", index.into());
    answer
}

/// A field of a query or a form.
fn field(form: &str, name: &str) -> Option<String> {
    let pair = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = pair.bytes();
    let mut value = Vec::new();
    while let Some(byte) = bytes.next() {
        value.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(value).ok()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use kv_client::fetch::fetch;

    use super::*;
    use crate::Source;

    async fn serve(kept: Option<PathBuf>) -> (String, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        (base, tokio::spawn(Arc::new(Service::new(kept)).serve(listener)))
    }

    async fn ask(method: Method, url: &str, body: &str) -> (u16, String) {
        let asked = fetch(method, url, Some(body.to_owned()), None, Duration::from_secs(10)).await;
        let (status, _, text) = asked.expect("an answer");
        (status, text)
    }

    #[tokio::test]
    async fn founders_find_each_other_and_a_late_one_is_woken() {
        let (base, _served) = serve(None).await;
        let (_, url) = ask(Method::GET, &format!("{base}/new?size=2"), "").await;
        let (_, size) = ask(Method::GET, &format!("{url}/_config/size"), "").await;
        assert!(size.contains("\"value\":\"2\""), "{size}");
        let waiting = tokio::spawn({
            let url = format!("{url}?wait=true&recursive=true&waitIndex=1");
            async move { ask(Method::GET, &url, "").await }
        });
        let put =
            ask(Method::PUT, &format!("{url}/abc?prevExist=false"), "value=a%3Dhttps%3A%2F%2Fh:1").await;
        assert_eq!(put.0, 201, "{put:?}");
        let again = ask(Method::PUT, &format!("{url}/abc?prevExist=false"), "value=x").await;
        assert_eq!(again.0, 412, "{again:?}");
        assert!(again.1.contains("\"errorCode\":105"), "{again:?}");
        let woken = waiting.await.expect("no panic");
        assert!(woken.1.contains("a=https://h:1"), "{woken:?}");
        let (status, text) = ask(Method::GET, &format!("{base}/{:032x}/_config/size", 1), "").await;
        assert_eq!((status, text.contains("\"errorCode\":100")), (404, true));
    }

    #[tokio::test]
    async fn a_swarm_lists_its_nodes_and_tokens_outlive_the_service() {
        let dir = tempfile::tempdir().expect("a folder");
        let kept = Some(dir.path().join("tokens.json"));
        let (base, served) = serve(kept.clone()).await;
        let id = Source::new_token(&base).await.expect("a token");
        let source = Source::parse(&format!("token://{id}"), Some(&base)).expect("a source");
        source.register("10.0.0.1:2375", Duration::from_secs(180)).await.expect("listed");
        assert_eq!(source.entries().await.expect("entries"), ["10.0.0.1:2375"]);
        assert!(source.register("nonsense", Duration::from_secs(180)).await.is_err());
        served.abort();
        let (base, _served) = serve(kept).await;
        let source = Source::parse(&format!("token://{id}"), Some(&base)).expect("a source");
        assert_eq!(source.entries().await.expect("entries"), ["10.0.0.1:2375"]);
    }
}
