//! Ports. Each takes gRPC and plain HTTP, over HTTP/1 and HTTP/2, with or without TLS, or a unix socket.

mod authority;
mod begun;
mod patient;

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use begun::Begun;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use patient::Patient;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, BufWriter},
    net::{TcpListener, UnixListener},
    task::JoinSet,
};

use crate::{
    config::{Connections, TlsFiles},
    peer::{
        Answering,
        line::{self, GREETING},
    },
    tls::{Acceptor, TlsError},
};

/// How often revocations are looked for.
const LOOK_EACH: Duration = Duration::from_secs(2);

/// Of each connection.
const WRITE_BUFFER: usize = 4 * 1024;

/// A reply's body, whatever made it.
pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Answers requests.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    fn handle(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

    /// Who answers on lines between members, where there are some.
    fn lines(&self) -> Option<&Answering> {
        None
    }

    /// How its connections are kept.
    fn connections(&self) -> Connections {
        Connections::default()
    }
}

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("could not listen on {url}")]
    Bind {
        url: String,
        #[source]
        source: io::Error,
    },
    #[error("could not offer TLS on {url}")]
    Tls {
        url: String,
        #[source]
        source: TlsError,
    },
}

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Listens on a URL and serves it with `handler`, in a task of `tasks`.
pub(crate) async fn listen<H: Handler>(
    url: &str,
    files: &TlsFiles,
    handler: H,
    tasks: &mut JoinSet<()>,
) -> Result<(), ListenError> {
    let bind = |source| ListenError::Bind { url: url.to_owned(), source };
    if let Some(path) = url.strip_prefix("unix://").or_else(|| url.strip_prefix("unixs://")) {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(bind)?;
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, handler.clone()));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        return Ok(());
    }
    let acceptor = match url.starts_with("https://") {
        true => Some(Arc::new(
            Acceptor::new(files).map_err(|source| ListenError::Tls { url: url.into(), source })?,
        )),
        false => None,
    };
    let listener = TcpListener::bind(address(url).await.map_err(bind)?).await.map_err(bind)?;
    tasks.spawn(accept(listener, acceptor, handler));
    Ok(())
}

async fn address(url: &str) -> io::Result<SocketAddr> {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, port) = rest.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let port = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = kv_client::resolve::lookup(host).await?.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
    Ok(SocketAddr::new(ip, port))
}

async fn accept<H: Handler>(listener: TcpListener, acceptor: Option<Arc<Acceptor>>, handler: H) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = match &acceptor {
            // Somebody must notice that the list of revoked certificates grew, also when nobody connects.
            Some(acceptor) if acceptor.revokes() => {
                match tokio::time::timeout(LOOK_EACH, listener.accept()).await {
                    Ok(accepted) => accepted,
                    Err(_) => {
                        acceptor.config();
                        continue;
                    }
                }
            }
            _ => listener.accept().await,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, handler) = (acceptor.clone(), handler.clone());
        connections.spawn(async move {
            match acceptor {
                None => serve(stream, handler).await,
                Some(acceptor) => {
                    let tls = tokio_rustls::TlsAcceptor::from(acceptor.config());
                    match tokio::time::timeout(Duration::from_secs(10), tls.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            let chain = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
                            tokio::select! {
                                () = serve(stream, handler) => {}
                                () = acceptor.distrusts(chain) => {
                                    tracing::info!("connection closed: its certificate is good no more");
                                }
                            }
                        }
                        Ok(Err(error)) => tracing::info!(%error, "rejected connection"),
                        Err(_) => tracing::info!("a client did not finish its handshake"),
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve<H: Handler>(mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, handler: H) {
    let Some(answering) = handler.lines() else { return serve_http(stream, handler).await };
    let mut begun = BytesMut::with_capacity(GREETING.len());
    // What is no greeting differs from it in its first letter.
    while GREETING.starts_with(&begun) && begun.len() < GREETING.len() {
        match (&mut stream).take((GREETING.len() - begun.len()) as u64).read_buf(&mut begun).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    if begun[..] == GREETING[..] {
        if let Err(error) = line::serve(answering, stream).await {
            tracing::debug!(%error, "a line between members ended");
        }
    } else {
        serve_http(Begun { begun: begun.freeze(), stream }, handler).await;
    }
}

async fn serve_http<H: Handler>(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, handler: H) {
    let Connections { most_streams, ping_every, ping_timeout } = handler.connections();
    let service = hyper::service::service_fn(move |request| {
        let answer = handler.handle(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .initial_connection_window_size(4 << 20)
        .initial_stream_window_size(1 << 20)
        .max_concurrent_streams(most_streams)
        .timer(TokioTimer::new())
        .keep_alive_interval(ping_every)
        .keep_alive_timeout(ping_timeout);
    // What is written by slices goes out frame by frame; copied into a buffer, small ones go together.
    let stream = authority::Corrected::new(BufWriter::with_capacity(WRITE_BUFFER, stream));
    let connection = server.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = Patient::new(connection).await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Whether a request is gRPC.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Passes a request to gRPC services.
pub(crate) async fn grpc<B>(mut routes: tonic::service::Routes, request: Request<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    use tower_service::Service as _;
    let request = request.map(tonic::body::Body::new);
    match routes.call(request).await {
        Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
        Err(never) => match never {},
    }
}
