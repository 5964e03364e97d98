//! HTTP/1.1 for the Docker Remote API: a small server that can hijack a connection.
//!
//! Docker's attach and exec take a connection over after the request, with `101 UPGRADED` when the
//! client asked for an upgrade and with a plain `200 OK` when it did not. hyper hands a connection out
//! only after 101, and gives no half-close; so the engine reads and writes HTTP/1.1 itself. Requests
//! are parsed with httparse, bodies are sized or chunked, replies are sized, chunked (each chunk is
//! flushed) or hijacked, connections are kept alive.
//!
//! It deliberately knows nothing of routes, of Docker, or of TLS: it serves any byte stream.

mod body;
mod exchange;
mod head;
mod serve;

pub use body::Body;
pub use exchange::{Exchange, HeadRead, Hijacked, StreamReply};
pub use head::Head;
pub use serve::{Handler, Limits, serve_connection};

/// The reading end of a connection.
pub type BoxRead = Box<dyn tokio::io::AsyncRead + Send + Unpin>;
/// The writing end of a connection.
pub type BoxWrite = Box<dyn tokio::io::AsyncWrite + Send + Unpin>;
/// Says whether the peer has read everything that was written to the connection.
pub type Drained = std::sync::Arc<dyn Fn() -> bool + Send + Sync>;
