//! `GET /metrics`: on the API's sockets, and alone on the address of `--metrics-addr`.

use std::sync::Arc;

use engine_http::{Exchange, Handler};
use http::{Method, StatusCode};

use super::call::{Call, Done};
use crate::daemon::Daemon;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    Ok(call.ex.reply(StatusCode::OK, TEXT, d.metrics().as_bytes()).await?)
}

/// Serves the figures and nothing else.
pub(crate) struct MetricsPage {
    daemon: Arc<Daemon>,
}

impl MetricsPage {
    pub(crate) fn new(daemon: Arc<Daemon>) -> MetricsPage {
        MetricsPage { daemon }
    }
}

impl Handler for MetricsPage {
    async fn handle(&self, ex: &mut Exchange) -> std::io::Result<()> {
        match (&ex.head.method, ex.head.path.as_str()) {
            (&(Method::GET | Method::HEAD), "/metrics") => {
                ex.reply(StatusCode::OK, TEXT, self.daemon.metrics().as_bytes()).await
            }
            _ => ex.reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", b"404 page not found\n").await,
        }
    }
}
