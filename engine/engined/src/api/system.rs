//! What the engine says about itself: ping, version, info; and that there is no swarm.

use engine_api::{API_VERSION, MIN_API_VERSION};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::{Call, Done, Fail};
use crate::daemon::Daemon;
use crate::version;

pub(super) async fn ping(call: &mut Call<'_>) -> Done {
    call.ex.set_header("builder-version", "1");
    call.ex.set_header("swarm", "inactive");
    call.ex.set_header("cache-control", "no-cache, no-store, must-revalidate");
    call.ex.set_header("pragma", "no-cache");
    let body: &[u8] = if call.ex.head.method == Method::HEAD { b"" } else { b"OK" };
    Ok(call.ex.reply(StatusCode::OK, "text/plain; charset=utf-8", body).await?)
}

pub(super) async fn version(call: &mut Call<'_>) -> Done {
    let built = version::build_time();
    let kernel = crate::daemon::host::kernel_version();
    let body = json!({
        "Platform": { "Name": "rmachine engine" },
        "Components": [{
            "Name": "Engine",
            "Version": version::ENGINE,
            "Details": {
                "ApiVersion": API_VERSION.to_string(),
                "Arch": version::ARCH,
                "BuildTime": built,
                "Experimental": "false",
                "GitCommit": version::commit(),
                "GoVersion": "none",
                "KernelVersion": kernel,
                "MinAPIVersion": MIN_API_VERSION.to_string(),
                "Os": "linux",
            },
        }],
        "Version": version::ENGINE,
        "ApiVersion": API_VERSION.to_string(),
        "MinAPIVersion": MIN_API_VERSION.to_string(),
        "GitCommit": version::commit(),
        "GoVersion": "none",
        "Os": "linux",
        "Arch": version::ARCH,
        "KernelVersion": kernel,
        "BuildTime": built,
    });
    call.ok_json(&body).await
}

pub(super) async fn info(daemon: &Daemon, call: &mut Call<'_>) -> Done {
    let mut body = daemon.info(call.version);
    if !call.at_least(42) {
        // Clients of those days read them.
        let old = json!({ "KernelMemory": false, "KernelMemoryTCP": false, "ClusterStore": "", "ClusterAdvertise": "" });
        extend(&mut body, old);
    }
    call.ok_json(&body).await
}

fn extend(body: &mut Value, more: Value) {
    if let (Value::Object(body), Value::Object(more)) = (body, more) {
        body.extend(more);
    }
}

/// The parts of the API that need a swarm.
pub(super) fn is_swarm(area: &str) -> bool {
    matches!(area, "swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs")
}

/// Docker's words on an engine that is in no swarm. Making or joining one is not served.
pub(super) fn swarm(area: &str, method: &Method, parts: &[&str]) -> Fail {
    let text = match (area, method.as_str(), parts.get(1).copied()) {
        ("swarm", "POST", Some("leave")) => "This node is not part of a swarm",
        ("swarm", "POST", Some("init" | "join")) => {
            "This engine does not serve swarm mode. Use fleet units to run containers across machines."
        }
        _ => {
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
        }
    };
    Fail::Refused(StatusCode::SERVICE_UNAVAILABLE, text.into())
}
