//! The Docker Remote API: from a request to the function that answers it.
//!
//! Paths may start with `/vX.Y`. Names may contain slashes, so paths are matched from their end.

mod build;
mod call;
mod containers;
mod detach;
mod events;
mod files;
mod gates;
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
mod websocket;

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
        // A slash at the end leads nowhere, and the path is clean: no part but the last can be empty.
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let d = &self.daemon;
        match (method.as_str(), parts.as_slice()) {
            ("OPTIONS", _) => call.empty(StatusCode::OK).await,
            ("GET" | "HEAD", ["_ping"]) => system::ping(call).await,
            ("GET", ["version"]) => system::version(call).await,
            ("GET", ["info"]) => system::info(d, call).await,
            ("GET", ["metrics"]) => metrics::metrics(d, call).await,
            ("GET", ["plugins"]) => call.ok_json(&[(); 0]).await,
            (_, ["containers", rest @ ..]) => self.containers(call, method.as_str(), rest).await,
            (_, ["exec", name @ .., action]) if !name.is_empty() => {
                let id = &name.join("/");
                match (method.as_str(), *action) {
                    ("POST", "start") => streams::exec_start(d, call, id).await,
                    ("POST", "resize") => streams::exec_resize(d, call, id).await,
                    ("GET", "json") => streams::exec_inspect(d, call, id).await,
                    _ => Err(page_not_found()),
                }
            }
            (_, ["images", rest @ ..]) => self.images(call, method.as_str(), rest).await,
            ("POST", ["auth"]) => transfer::login(d, call).await,
            ("GET", ["distribution", name @ .., "json"]) => {
                transfer::distribution(d, call, &name.join("/")).await
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
            (_, ["volumes", rest @ ..]) => self.volumes(call, method.as_str(), rest).await,
            (_, ["networks", rest @ ..]) => self.networks(call, method.as_str(), rest).await,
            _ if system::is_swarm(parts[0]) => Err(system::swarm(parts[0], &method, &parts)),
            _ => Err(page_not_found()),
        }
    }

    /// The action is the last part, or the last two: what stands before it is a name, whatever is in it.
    async fn containers(&self, call: &mut Call<'_>, method: &str, rest: &[&str]) -> Done {
        let d = &self.daemon;
        let (name, action) = match rest {
            [name @ .., "attach", "ws"] if !name.is_empty() => (name, "attach/ws"),
            [name @ .., "checkpoints"] | [name @ .., "checkpoints", _] if !name.is_empty() => {
                (name, "checkpoints")
            }
            [name @ .., action] => (name, *action),
            [] => return Err(page_not_found()),
        };
        let (id, whole) = (&name.join("/"), &rest.join("/"));
        match (method, name.len(), action) {
            ("GET", 0, "json") => containers::list(d, call).await,
            ("POST", 0, "prune") => prune::containers(d, call).await,
            ("POST", 0, "create") => containers::create(d, call).await,
            ("DELETE", _, "checkpoints") => Err(no_checkpoints()),
            ("DELETE", _, last) if !last.is_empty() => containers::remove(d, call, whole).await,
            (_, 0, _) => Err(page_not_found()),
            ("GET", _, "json") => containers::inspect(d, call, id).await,
            ("GET", _, "logs") => logs::logs(d, call, id).await,
            ("POST", _, "start") => containers::start(d, call, id).await,
            ("POST", _, "stop") => containers::stop(d, call, id).await,
            ("POST", _, "restart") => containers::restart(d, call, id).await,
            ("POST", _, "kill") => containers::kill(d, call, id).await,
            ("POST", _, "pause") => containers::pause(d, call, id).await,
            ("POST", _, "unpause") => containers::unpause(d, call, id).await,
            ("POST", _, "rename") => containers::rename(d, call, id).await,
            ("POST", _, "wait") => containers::wait(d, call, id).await,
            ("GET", _, "attach/ws") => websocket::attach(d, call, id).await,
            (_, _, "checkpoints") => Err(no_checkpoints()),
            ("POST", _, "attach") => streams::attach(d, call, id).await,
            ("POST", _, "exec") => streams::exec_create(d, call, id).await,
            ("GET", _, "export") => files::export(d, call, id).await,
            ("GET", _, "changes") => files::changes(d, call, id).await,
            ("GET", _, "top") => files::top(d, call, id).await,
            ("GET", _, "stats") => files::stats(d, call, id).await,
            ("HEAD", _, "archive") => files::stat(d, call, id).await,
            ("GET", _, "archive") => files::get(d, call, id).await,
            ("PUT", _, "archive") => files::put(d, call, id).await,
            ("POST", _, "update") => files::update(d, call, id).await,
            ("POST", _, "resize") => streams::resize(d, call, id).await,
            _ => Err(page_not_found()),
        }
    }
}

impl Api {
    async fn volumes(&self, call: &mut Call<'_>, method: &str, rest: &[&str]) -> Done {
        let d = &self.daemon;
        match (method, rest) {
            ("GET", []) => volumes::list(d, call).await,
            ("POST", ["create"]) => volumes::create(d, call).await,
            ("POST", ["prune"]) => volumes::prune(d, call).await,
            (_, [.., ""]) => Err(page_not_found()),
            ("GET", name) => volumes::inspect(d, call, &name.join("/")).await,
            ("DELETE", name) => volumes::remove(d, call, &name.join("/")).await,
            _ => Err(page_not_found()),
        }
    }

    async fn networks(&self, call: &mut Call<'_>, method: &str, rest: &[&str]) -> Done {
        let d = &self.daemon;
        match (method, rest) {
            ("GET", [] | [""]) => networks::list(d, call).await,
            ("POST", ["create"]) => networks::create(d, call).await,
            ("POST", ["prune"]) => networks::prune(d, call).await,
            (_, [.., ""]) => Err(page_not_found()),
            ("GET", name) => networks::inspect(d, call, &name.join("/")).await,
            ("DELETE", name) => networks::remove(d, call, &name.join("/")).await,
            ("POST", [name @ .., "connect"]) => networks::connect(d, call, &name.join("/")).await,
            ("POST", [name @ .., "disconnect"]) => networks::disconnect(d, call, &name.join("/")).await,
            _ => Err(page_not_found()),
        }
    }

    async fn images(&self, call: &mut Call<'_>, method: &str, rest: &[&str]) -> Done {
        let d = &self.daemon;
        let Some((action, name)) = rest.split_last() else { return Err(page_not_found()) };
        let (name, whole) = (name.join("/"), rest.join("/"));
        match (method, rest.len(), *action) {
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
            ("DELETE", 1, "") => Err(Fail::bad("image name cannot be blank")),
            ("DELETE", _, _) => images::remove(d, call, &whole).await,
            _ => Err(page_not_found()),
        }
    }
}

fn no_checkpoints() -> Fail {
    Fail::Refused(
        StatusCode::NOT_IMPLEMENTED,
        "checkpoints are not served: stop the container, or pause it".into(),
    )
}

fn page_not_found() -> Fail {
    Fail::missing("page not found")
}

impl Handler for Api {
    async fn handle(&self, ex: &mut Exchange) -> std::io::Result<()> {
        let path = call::decode(&ex.head.path, false);
        let (version, rest) = split_version(&path);
        ex.set_header("server", concat!("Docker/", "28.2.2+rmachine.0.1.0", " (linux)"));
        ex.set_header("api-version", &API_VERSION.to_string());
        ex.set_header("ostype", "linux");
        ex.set_header("docker-experimental", "false");
        let clean = clean_path(&path);
        if clean != path {
            return redirect(ex, &clean).await;
        }
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

/// Sends a client to the path it should have asked for.
async fn redirect(ex: &mut Exchange, path: &str) -> std::io::Result<()> {
    let query = if ex.head.query.is_empty() { String::new() } else { format!("?{}", ex.head.query) };
    ex.set_header("location", &(call::encode_path(path) + &query));
    ex.reply(StatusCode::MOVED_PERMANENTLY, "", b"").await
}

/// The path without `.`, `..` and doubled slashes; a slash at its end stays.
fn clean_path(path: &str) -> String {
    let clean = crate::daemon::clean_path(path);
    if path.len() > 1 && path.ends_with('/') && clean != "/" { clean + "/" } else { clean }
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
        None => (after, "/"),
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
    fn paths_are_cleaned() {
        for (path, clean) in [
            ("/containers//json", "/containers/json"),
            ("//info", "/info"),
            ("/a/../info/", "/info/"),
            ("/", "/"),
            ("//", "/"),
            ("/images/a/b:1/json", "/images/a/b:1/json"),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
    }

    #[test]
    fn versions_in_paths() {
        assert_eq!(split_version("/v1.41/info"), (Some(ApiVersion::v1(41)), "/info"));
        assert_eq!(split_version("/info"), (None, "/info"));
        assert_eq!(split_version("/volumes"), (None, "/volumes"));
        assert_eq!(split_version("/v1.x/info"), (None, "/v1.x/info"));
        assert_eq!(split_version("/v1/info").1, "/info");
        assert_eq!(split_version("/v1.41"), (Some(ApiVersion::v1(41)), "/"));
        assert!(check_version(Some(ApiVersion::v1(51))).is_err());
        assert!(check_version(Some(ApiVersion::v1(23))).is_err());
        assert!(check_version(Some(ApiVersion::v1(24))).is_ok());
    }
}
