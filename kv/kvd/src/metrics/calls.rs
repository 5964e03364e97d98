//! gRPC calls, counted as they pass under the names that gRPC servers' dashboards know: how many began, how each
//! ended, how many messages and bytes went either way.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::Page;
use crate::gateway::ROUTES;

/// gRPC's codes by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
/// Methods that the gateway has no way to.
const WITHOUT_ROUTE: [(&str, &str); 2] =
    [("grpc.health.v1.Health", "Check"), ("grpc.health.v1.Health", "Watch")];
const CANCELED: usize = 1;
/// Versions of the API that are told apart; clients may say what they like.
const MOST_VERSIONS: usize = 16;
const UNKNOWN: &str = "unknown";

/// One method's calls.
#[derive(Default)]
struct Method {
    labels: String,
    streams: bool,
    bytes: Arc<Traffic>,
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    received: AtomicU64,
    sent: AtomicU64,
}

/// All calls of a member's services.
pub(crate) struct Calls {
    methods: BTreeMap<String, Arc<Method>>,
    bytes: Arc<Traffic>,
    versions: RwLock<Vec<Version>>,
}

/// Calls of clients that say they speak this version of the API.
struct Version {
    version: String,
    streams: bool,
    calls: AtomicU64,
}

#[derive(Default)]
struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Default for Calls {
    fn default() -> Self {
        let bytes = Arc::<Traffic>::default();
        let all = ROUTES.iter().map(|(_, service, method)| (*service, *method));
        let methods = all.chain(WITHOUT_ROUTE).map(|(service, name)| {
            let kind = match name {
                "Watch" if service == "grpc.health.v1.Health" => "server_stream",
                "Watch" | "LeaseKeepAlive" => "bidi_stream",
                "Snapshot" | "Observe" => "server_stream",
                _ => "unary",
            };
            let labels = format!("grpc_method=\"{name}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"");
            let streams = kind != "unary";
            let method = Method { labels, streams, bytes: bytes.clone(), ..Method::default() };
            (format!("/{service}/{name}"), Arc::new(method))
        });
        Self { methods: methods.collect(), bytes, versions: RwLock::default() }
    }
}

impl Calls {
    /// A call begins; counts what goes either way. Nothing is counted of a method that there is not.
    pub(crate) fn begin(&self, path: &str, headers: &HeaderMap) -> Option<Call> {
        let method = self.methods.get(path)?.clone();
        method.started.fetch_add(1, Ordering::Relaxed);
        self.count_version(headers, method.streams);
        Some(Call(method))
    }

    fn count_version(&self, headers: &HeaderMap, streams: bool) {
        let told = headers.get("client-api-version").and_then(|version| version.to_str().ok());
        let told = told.unwrap_or(UNKNOWN);
        {
            let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
            let known =
                |told| versions.iter().find(|known| known.version == told && known.streams == streams);
            let full = versions.len() >= MOST_VERSIONS;
            if let Some(known) = known(told).or_else(|| full.then(|| known(UNKNOWN)).flatten()) {
                known.calls.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        let mut versions = self.versions.write().unwrap_or_else(PoisonError::into_inner);
        let told = if versions.len() < MOST_VERSIONS { told } else { UNKNOWN };
        versions.push(Version { version: told.to_owned(), streams, calls: AtomicU64::new(1) });
    }

    pub(super) fn tell(&self, page: &mut Page) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut each = |name: &str, help: &str, of: fn(&Method) -> &AtomicU64| {
            page.family(name, "counter", help);
            for method in self.methods.values() {
                page.line(name, &method.labels, load(of(method)));
            }
        };
        each("grpc_server_started_total", "Total number of RPCs started on the server.", |m| &m.started);
        each(
            "grpc_server_msg_received_total",
            "Total number of RPC stream messages received on the server.",
            |m| &m.received,
        );
        each("grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server.", |m| {
            &m.sent
        });
        let name = "grpc_server_handled_total";
        page.family(
            name,
            "counter",
            "Total number of RPCs completed on the server, regardless of success or failure.",
        );
        for method in self.methods.values() {
            for (code, count) in CODES.iter().zip(&method.handled) {
                page.line(name, &format!("grpc_code=\"{code}\",{}", method.labels), load(count));
            }
        }
        let name = "etcd_server_client_requests_total";
        page.family(name, "counter", "The total number of client requests per client version.");
        for Version { version, streams, calls } in
            self.versions.read().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let kind = if *streams { "stream" } else { "unary" };
            let version = version.escape_default();
            page.line(name, &format!("client_api_version=\"{version}\",type=\"{kind}\""), load(calls));
        }
        let (received, sent) = (load(&self.bytes.received), load(&self.bytes.sent));
        let name = "etcd_network_client_grpc_received_bytes_total";
        page.one(name, "counter", "The total number of bytes received from grpc clients.", received);
        let name = "etcd_network_client_grpc_sent_bytes_total";
        page.one(name, "counter", "The total number of bytes sent to grpc clients.", sent);
    }
}

/// A call on its way.
#[derive(Clone)]
pub(crate) struct Call(Arc<Method>);

impl Call {
    /// Whether it is more than a question and its answer.
    pub(crate) fn streams(&self) -> bool {
        self.0.streams
    }

    /// What the client sends, counted as it is read.
    pub(crate) fn request<B>(&self, body: B) -> Counted<B> {
        Counted { body, call: self.clone(), messages: Messages::default(), way: Way::In }
    }

    /// What is answered, counted as it is sent. The call has ended when its status was sent, or when nobody takes the
    /// rest any more.
    pub(crate) fn response<B>(&self, headers: &HeaderMap, body: B) -> Counted<B> {
        let way = Way::Out { ended: self.end(headers) };
        Counted { body, call: self.clone(), messages: Messages::default(), way }
    }

    fn end(&self, headers: &HeaderMap) -> bool {
        let Some(status) = headers.get("grpc-status") else { return false };
        let code = status.to_str().ok().and_then(|code| code.parse::<usize>().ok());
        let unknown = 2;
        self.0.handled[code.filter(|code| *code < CODES.len()).unwrap_or(unknown)]
            .fetch_add(1, Ordering::Relaxed);
        true
    }
}

enum Way {
    In,
    Out { ended: bool },
}

/// A body that is counted.
pub(crate) struct Counted<B> {
    body: B,
    call: Call,
    messages: Messages,
    way: Way,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            if let Some(data) = frame.data_ref() {
                let messages = this.messages.feed(data);
                let (method, bytes) = (&this.call.0, &this.call.0.bytes);
                let (seen, all) = match this.way {
                    Way::In => (&method.received, &bytes.received),
                    Way::Out { .. } => (&method.sent, &bytes.sent),
                };
                seen.fetch_add(messages, Ordering::Relaxed);
                all.fetch_add(data.len() as u64, Ordering::Relaxed);
            }
            if let (Some(trailers), Way::Out { ended: ended @ false }) = (frame.trailers_ref(), &mut this.way)
            {
                *ended = this.call.end(trailers);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Counted<B> {
    fn drop(&mut self) {
        if let Way::Out { ended: false } = self.way {
            self.call.0.handled[CANCELED].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where messages begin in a stream of bytes: each has a flag and its length before it.
#[derive(Default)]
struct Messages {
    prefix: [u8; 5],
    have: usize,
    left: usize,
}

impl Messages {
    /// How many begin here.
    fn feed(&mut self, mut data: &[u8]) -> u64 {
        let mut begun = 0;
        while !data.is_empty() {
            let taken = if self.left > 0 {
                let taken = self.left.min(data.len());
                self.left -= taken;
                taken
            } else {
                let taken = (self.prefix.len() - self.have).min(data.len());
                self.prefix[self.have..self.have + taken].copy_from_slice(&data[..taken]);
                self.have += taken;
                taken
            };
            data = &data[taken..];
            if self.have == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                (self.have, self.left) = (0, u32::from_be_bytes(length) as usize);
                begun += 1;
            }
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let stream: Vec<u8> = [3_u32, 0, 300].iter().flat_map(|length| message(*length)).collect();
        for piece in [1, 2, 5, 7, stream.len()] {
            let mut messages = Messages::default();
            let begun: u64 = stream.chunks(piece).map(|chunk| messages.feed(chunk)).sum();
            assert_eq!((begun, messages.left, messages.have), (3, 0, 0), "in pieces of {piece}");
        }
    }

    fn message(length: u32) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(length.to_be_bytes());
        message.resize(message.len() + length as usize, b'x');
        message
    }

    #[test]
    fn a_call_that_nobody_waits_for_is_canceled() {
        let calls = Calls::default();
        let call = calls.begin("/etcdserverpb.Watch/Watch", &HeaderMap::new()).expect("a method");
        drop(call.response(&HeaderMap::new(), ()));
        let failed = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("11"),
        )]);
        drop(call.response(&failed, ()));
        let told = HeaderMap::from_iter([(
            http::HeaderName::from_static("client-api-version"),
            http::HeaderValue::from_static("3.5.1"),
        )]);
        drop(calls.begin("/etcdserverpb.KV/Put", &told));
        drop(calls.begin("/etcdserverpb.KV/Put", &told));
        assert!(calls.begin("/etcdserverpb.Watch/Bogus", &HeaderMap::new()).is_none());
        let mut page = Page::default();
        calls.tell(&mut page);
        let watch = "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"";
        for (code, count) in [("Canceled", 1), ("OutOfRange", 1), ("OK", 0)] {
            let line = format!("grpc_server_handled_total{{grpc_code=\"{code}\",{watch}}} {count}\n");
            assert!(page.text().contains(&line), "{line}");
        }
        for (version, kind, count) in [("3.5.1", "unary", 2), ("unknown", "stream", 1)] {
            let labels = format!("client_api_version=\"{version}\",type=\"{kind}\"");
            let line = format!("etcd_server_client_requests_total{{{labels}}} {count}\n");
            assert!(page.text().contains(&line), "{line}");
        }
    }
}
