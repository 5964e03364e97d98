//! `POST /build`, and the Dockerfile instructions that import and commit take as changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_build::BuildOptions;
use engine_image::RunConfig;
use http::StatusCode;
use serde::de::IgnoredAny;

use super::call::{Call, Done, Fail, Query};
use super::{golang, progress};
use crate::daemon::Daemon;
use crate::daemon::build::BuildHost;
use crate::daemon::error::Refusal;

/// Applies `CMD …`, `ENV …` and so on.
pub(super) fn apply_changes(mut config: RunConfig, changes: &[String]) -> Result<RunConfig, Fail> {
    engine_build::apply_changes(&mut config, changes).map_err(|e| Fail::bad(e.to_string()))?;
    Ok(config)
}

/// Parameters that are JSON, and what precedes the sentence on one that is none.
const JSON: [(&str, &str); 4] = [
    ("buildargs", "error reading build args: "),
    ("labels", "error reading labels: "),
    ("ulimits", "error reading ulimit settings: "),
    ("cachefrom", ""),
];

fn check_json(query: &Query) -> Result<(), Fail> {
    for (name, before) in JSON {
        let text = query.text(name);
        if let Err(error) = serde_json::from_str::<IgnoredAny>(text)
            && !text.is_empty()
        {
            return Err(Fail::bad(format!("{before}{}", golang::problem(text.as_bytes(), &error))));
        }
    }
    Ok(())
}

pub(super) async fn build(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    check_json(&call.query)?;
    let mut options = BuildOptions::from_query(call.query.pairs()).map_err(|e| Fail::bad(e.to_string()))?;
    let auths = call.ex.head.header("x-registry-config").unwrap_or_default().to_owned();
    let context = match options.remote.starts_with("http://") || options.remote.starts_with("https://") {
        true => super::transfer::url_pipe(d, &std::mem::take(&mut options.remote)).await?,
        false => super::transfer::body_pipe(call).await?,
    };
    let host = Arc::new(BuildHost::new(d, &auths));
    let (store, daemon) = (d.store.clone(), d.clone());
    // A client that leaves cancels its build.
    progress::stream(call, true, |sink| async move {
        daemon.metrics.builds.fetch_add(1, Ordering::Relaxed);
        let built = engine_build::build(store, host, options, context, sink).await;
        if built.is_err() {
            daemon.metrics.builds_failed.fetch_add(1, Ordering::Relaxed);
        }
        match built {
            Ok(_) => Ok(()),
            Err(error) => Err(Refusal {
                status: StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                message: error.to_string(),
                event: Some(error.event()),
            }),
        }
    })
    .await
}
