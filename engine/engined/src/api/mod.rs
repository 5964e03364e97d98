//! The Docker Remote API: from a request to the function that answers it.
//!
//! Paths may start with `/vX.Y`. Names of images contain slashes, so they are matched from their end.

mod build;
mod call;
mod containers;
mod detach;
mod events;
mod files;
mod golang;
mod images;
mod logs;
mod metrics;
mod networks;
mod progress;
mod prune;
mod streams;
mod system;
mod transfer;
mod volumes;

use std::sync::Arc;

use engine_api::{API_VERSION, ApiVersion, MIN_API_VERSION};
use engine_http::{Exchange, Handler};
use http::StatusCode;

use crate::daemon::Daemon;
use call::{Call, Done, Fail, Query};
pub(crate) use metrics::MetricsPage;

/// The API of one engine.
pub(crate) struct Api {
    daemon: Arc<Daemon>,
}

impl Api {
    pub(crate) fn new(daemon: Arc<Daemon>) -> Api {
        Api { daemon }
    }

    async fn dispatch(&self, call: &mut Call<'_>, path: &str) -> Done {
        let method = call.ex.head.method.clone();
        let raw: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let area = raw.first().copied().unwrap_or_default();
        // Names of images are put together again before they are decoded.
        let whole = matches!(area, "images" | "distribution");
        let decoded: Vec<String> =
            raw.iter().map(|p| if whole { (*p).to_owned() } else { call::decode(p, false) }).collect();
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let d = &self.daemon;
        match (method.as_str(), parts.as_slice()) {
            ("OPTIONS", _) => call.empty(StatusCode::OK).await,
            ("GET" | "HEAD", ["_ping"]) => system::ping(call).await,
            ("GET", ["version"]) => system::version(call).await,
            ("GET", ["info"]) => system::info(d, call).await,
            ("GET", ["metrics"]) => metrics::metrics(d, call).await,
            ("GET", ["plugins"]) => call.ok_json(&[(); 0]).await,
            (_, ["containers", rest @ ..]) => self.containers(call, method.as_str(), rest).await,
            (_, ["exec", id, action]) => match (method.as_str(), *action) {
                ("POST", "start") => streams::exec_start(d, call, id).await,
                ("POST", "resize") => streams::exec_resize(d, call, id).await,
                ("GET", "json") => streams::exec_inspect(d, call, id).await,
                _ => Err(page_not_found()),
            },
            (_, ["images", rest @ ..]) => self.images(call, method.as_str(), rest).await,
            ("POST", ["auth"]) => transfer::login(d, call).await,
            ("GET", ["distribution", name @ .., "json"]) => {
                let name = call::decode(&name.join("/"), false);
                transfer::distribution(d, call, &name).await
            }
            (_, ["plugins", "pull" | "create" | "privileges"]) => Err(Fail::Refused(
                StatusCode::NOT_IMPLEMENTED,
                "plugins are not served: use the local volume driver and bridge networks".into(),
            )),
            (_, ["plugins", name, ..]) => Err(Fail::missing(format!("plugin \"{name}\" not found"))),
            ("POST", ["build"]) => build::build(d, call).await,
            ("POST", ["build", "prune"]) => {
                call.ok_json(&serde_json::json!({ "CachesDeleted": null, "SpaceReclaimed": 0 })).await
            }
            ("POST", ["build", "cancel"]) => match call.query.text("id") {
                "" => Err(Fail::bad("build ID not provided")),
                // Only BuildKit's builds have ids; ours end with their client's connection.
                _ => call.empty(StatusCode::OK).await,
            },
            ("POST", ["commit"]) => files::commit(d, call).await,
            ("GET", ["events"]) => events::events(d, call).await,
            ("GET", ["system", "df"]) => prune::df(d, call).await,
            ("GET", ["volumes"]) => volumes::list(d, call).await,
            ("POST", ["volumes", "create"]) => volumes::create(d, call).await,
            ("POST", ["volumes", "prune"]) => volumes::prune(d, call).await,
            ("GET", ["volumes", name]) => volumes::inspect(d, call, name).await,
            ("DELETE", ["volumes", name]) => volumes::remove(d, call, name).await,
            ("GET", ["networks"]) => networks::list(d, call).await,
            ("POST", ["networks", "create"]) => networks::create(d, call).await,
            ("POST", ["networks", "prune"]) => networks::prune(d, call).await,
            ("GET", ["networks", name]) => networks::inspect(d, call, name).await,
            ("DELETE", ["networks", name]) => networks::remove(d, call, name).await,
            ("POST", ["networks", name, "connect"]) => networks::connect(d, call, name).await,
            ("POST", ["networks", name, "disconnect"]) => networks::disconnect(d, call, name).await,
            _ if system::is_swarm(area) => Err(system::swarm(area, &method, &parts)),
            _ => Err(page_not_found()),
        }
    }
}

impl Api {
    async fn containers(&self, call: &mut Call<'_>, method: &str, rest: &[&str]) -> Done {
        let d = &self.daemon;
        match (method, rest) {
            ("GET", ["json"]) => containers::list(d, call).await,
            ("POST", ["prune"]) => prune::containers(d, call).await,
            ("POST", ["create"]) => containers::create(d, call).await,
            ("DELETE", [id]) => containers::remove(d, call, id).await,
            ("GET", [id, "json"]) => containers::inspect(d, call, id).await,
            ("GET", [id, "logs"]) => logs::logs(d, call, id).await,
            ("POST", [id, "start"]) => containers::start(d, call, id).await,
            ("POST", [id, "stop"]) => containers::stop(d, call, id).await,
            ("POST", [id, "restart"]) => containers::restart(d, call, id).await,
            ("POST", [id, "kill"]) => containers::kill(d, call, id).await,
            ("POST", [id, "pause"]) => containers::pause(d, call, id).await,
            ("POST", [id, "unpause"]) => containers::unpause(d, call, id).await,
            ("POST", [id, "rename"]) => containers::rename(d, call, id).await,
            ("POST", [id, "wait"]) => containers::wait(d, call, id).await,
            ("GET", [_, "attach", "ws"]) => Err(Fail::Refused(
                StatusCode::NOT_IMPLEMENTED,
                "websockets are not served: attach with POST /containers/ID/attach".into(),
            )),
            (_, [_, "checkpoints", ..]) => Err(Fail::Refused(
                StatusCode::NOT_IMPLEMENTED,
                "checkpoints are not served: stop the container, or pause it".into(),
            )),
            ("POST", [id, "attach"]) => streams::attach(d, call, id).await,
            ("POST", [id, "exec"]) => streams::exec_create(d, call, id).await,
            ("GET", [id, "export"]) => files::export(d, call, id).await,
            ("GET", [id, "changes"]) => files::changes(d, call, id).await,
            ("GET", [id, "top"]) => files::top(d, call, id).await,
            ("GET", [id, "stats"]) => files::stats(d, call, id).await,
            ("HEAD", [id, "archive"]) => files::stat(d, call, id).await,
            ("GET", [id, "archive"]) => files::get(d, call, id).await,
            ("PUT", [id, "archive"]) => files::put(d, call, id).await,
            ("POST", [id, "update"]) => files::update(d, call, id).await,
            ("POST", [id, "resize"]) => streams::resize(d, call, id).await,
            _ => Err(page_not_found()),
        }
    }
}

impl Api {
    /// Names of images contain slashes: the action is the last part.
    async fn images(&self, call: &mut Call<'_>, method: &str, rest: &[&str]) -> Done {
        let d = &self.daemon;
        let (name, action) = match rest.split_last() {
            Some((action, name)) => (call::decode(&name.join("/"), false), *action),
            None => return Err(page_not_found()),
        };
        let whole = call::decode(&rest.join("/"), false);
        match (method, rest.len(), action) {
            ("GET", 1, "json") => images::list(d, call).await,
            ("GET", 1, "get") => {
                let names = call.query.all("names").map(str::to_owned).collect();
                transfer::save(d, call, names).await
            }
            ("GET", 1, "search") => {
                Err(Fail::internal("searching registries is not supported: use the registry's own site"))
            }
            ("POST", 1, "create") => transfer::create(d, call).await,
            ("POST", 1, "load") => transfer::load(d, call).await,
            ("POST", 1, "prune") => images::prune(d, call).await,
            ("GET", 2.., "json") => images::inspect(d, call, &name).await,
            ("GET", 2.., "history") => images::history(d, call, &name).await,
            ("GET", 2.., "get") => transfer::save(d, call, vec![name]).await,
            ("POST", 2.., "push") => transfer::push(d, call, &name).await,
            ("POST", 2.., "tag") => images::tag(d, call, &name).await,
            ("DELETE", _, _) => images::remove(d, call, &whole).await,
            _ => Err(page_not_found()),
        }
    }
}

fn page_not_found() -> Fail {
    Fail::missing("page not found")
}

impl Handler for Api {
    async fn handle(&self, ex: &mut Exchange) -> std::io::Result<()> {
        let path = ex.head.path.clone();
        let (version, rest) = split_version(&path);
        ex.set_header("server", concat!("Docker/", "28.2.2+rmachine.0.1.0", " (linux)"));
        ex.set_header("api-version", &API_VERSION.to_string());
        ex.set_header("ostype", "linux");
        ex.set_header("docker-experimental", "false");
        let span = tracing::debug_span!("api", method = %ex.head.method, path = %path);
        let _entered = span.enter();
        tracing::debug!("call");
        drop(_entered);
        let query = Query::parse(&ex.head.query);
        let mut call = Call { ex, query, version: version.unwrap_or(API_VERSION) };
        let timed = timed_action(&call.ex.head.method, rest);
        let begun = std::time::Instant::now();
        let done = match check_version(version) {
            Ok(()) => self.dispatch(&mut call, rest).await,
            Err(fail) => Err(fail),
        };
        if let (Some(action), Ok(())) = (timed, &done) {
            self.daemon.metrics.note_action(action, begun.elapsed());
        }
        answer_failure(&mut call, done).await
    }
}

/// What of the calls is timed for the metrics.
fn timed_action(method: &http::Method, path: &str) -> Option<&'static str> {
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    match (method.as_str(), parts.next()?, parts.next(), parts.next()) {
        ("POST", "containers", Some("create"), None) => Some("create"),
        ("POST", "containers", Some(_), Some("start")) => Some("start"),
        ("DELETE", "containers", Some(_), None) => Some("delete"),
        ("GET", "containers", Some(_), Some("changes")) => Some("changes"),
        ("POST", "commit", None, None) => Some("commit"),
        _ => None,
    }
}

async fn answer_failure(call: &mut Call<'_>, done: Done) -> std::io::Result<()> {
    match done {
        Ok(()) => Ok(()),
        Err(Fail::Gone(error)) => Err(error),
        Err(Fail::Refused(status, message)) => {
            if call.ex.answered() {
                // The reply has begun: cutting it is the only way left to say that it failed.
                return Err(std::io::Error::other(message));
            }
            if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
                tracing::error!(path = %call.ex.head.path, "{message}");
            }
            let body = serde_json::json!({ "message": message }).to_string() + "\n";
            call.ex.reply(status, "application/json", body.as_bytes()).await
        }
    }
}

/// `/v1.41/info` as its version and `/info`. What is no version is left in the path.
fn split_version(path: &str) -> (Option<ApiVersion>, &str) {
    let Some(after) = path.strip_prefix("/v") else { return (None, path) };
    let (first, rest) = match after.find('/') {
        Some(slash) => after.split_at(slash),
        None => (after, ""),
    };
    // `/v1/` is a version too, if an old one.
    match ApiVersion::parse(first).or_else(|| ApiVersion::parse(&format!("{first}.0"))) {
        Some(version) => (Some(version), rest),
        None => (None, path),
    }
}

fn check_version(version: Option<ApiVersion>) -> Result<(), Fail> {
    match version {
        Some(v) if v > API_VERSION => Err(Fail::bad(format!(
            "client version {v} is too new. Maximum supported API version is {API_VERSION}"
        ))),
        Some(v) if v < MIN_API_VERSION => Err(Fail::bad(format!(
            "client version {v} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade your client to a newer version"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_paths() {
        assert_eq!(split_version("/v1.41/info"), (Some(ApiVersion::v1(41)), "/info"));
        assert_eq!(split_version("/info"), (None, "/info"));
        assert_eq!(split_version("/volumes"), (None, "/volumes"));
        assert_eq!(split_version("/v1.x/info"), (None, "/v1.x/info"));
        assert_eq!(split_version("/v1/info").1, "/info");
        assert!(check_version(Some(ApiVersion::v1(51))).is_err());
        assert!(check_version(Some(ApiVersion::v1(23))).is_err());
        assert!(check_version(Some(ApiVersion::v1(24))).is_ok());
    }
}
