//! `--registry-mirror` as a user meets it. The hub is a registry on the engine's own loopback, which an
//! `/etc/hosts` and a root certificate in the engine's mount namespace make it believe in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::engine::{self, Engine};
use crate::registries::Registry;

const HUB: &str = "registry-1.docker.io";
const MIRROR: u16 = 5001;

/// An engine, its hub, and a mirror of the hub.
struct World {
    engine: Engine,
    hub: Registry,
    mirror: Option<Registry>,
}

impl World {
    /// An engine that was told of its mirror by these flags, or by this daemon.json.
    fn new(program: &Path, flags: &[&str], settings: &str) -> World {
        let engine = Engine::start_with(program, flags, settings).expect("the engine starts");
        let dir = engine.dir.path();
        let (certificate, key) = (dir.join("hub.crt"), dir.join("hub.key"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=hub", "-addext", &format!("subjectAltName=DNS:{HUB},IP:127.0.0.1")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        engine.mounted(&format!(
            "cd {} && echo '127.0.0.1 localhost {HUB}' >hosts && mount --bind hosts /etc/hosts && \
             mount -t tmpfs roots /etc/ssl/certs && cp hub.crt /etc/ssl/certs/ca-certificates.crt",
            dir.display()
        ));
        if elder().is_some() {
            // Go's resolver looks at that file every five seconds.
            std::thread::sleep(Duration::from_secs(6));
        }
        let hub = Registry::start(&engine, 443, Some((&certificate, &key)));
        let mirror = Some(Registry::start(&engine, MIRROR, None));
        World { engine, hub, mirror }
    }

    fn mirror(&self) -> &Registry {
        self.mirror.as_ref().expect("it runs")
    }

    /// Puts an image with a layer of its own into registries, and keeps nothing of it in the engine.
    fn publish(&self, name: &str, ports: &[u16]) {
        let dir = self.engine.dir.path().display();
        let engine = &self.engine;
        engine.must(&format!(
            "cd {dir} && echo {name} >content && tar c content | docker import - {name}:made >/dev/null"
        ));
        for port in ports {
            let at = format!("127.0.0.1:{port}/library/{name}:1");
            engine.must(&format!("docker tag {name}:made {at} && docker push -q {at} && docker rmi {at}"));
        }
        engine.must(&format!("docker rmi {name}:made"));
        self.forget();
    }

    /// Everything that was asked so far was no part of the story.
    fn forget(&self) {
        self.hub.asked();
        self.mirror.iter().for_each(|mirror| drop(mirror.asked()));
    }

    /// Pulls, and tells what the hub and the mirror were asked for.
    fn pull(&self, name: &str) -> (Vec<String>, Vec<String>) {
        self.forget();
        let told = self.engine.must(&format!("docker pull {name}"));
        assert!(told.contains("Status: Downloaded newer image for"), "{told}");
        (self.hub.asked(), self.mirror.as_ref().map(Registry::asked).unwrap_or_default())
    }
}

fn blobs(asked: &[String]) -> usize {
    asked.iter().filter(|request| request.starts_with("GET ") && request.contains("/blobs/")).count()
}

/// The same story, however the engine came to know its mirror.
fn mirrors_are_tried_first(program: &Path, flags: &[&str], settings: &str) {
    let mut world = World::new(program, flags, settings);
    let listed = world.engine.must("docker info");
    assert!(listed.contains(&format!(" Registry Mirrors:\n  http://127.0.0.1:{MIRROR}/\n")), "{listed}");
    world.publish("both", &[443, MIRROR]);
    world.publish("hubonly", &[443]);
    world.publish("later", &[443, MIRROR]);
    world.publish("broken", &[443, MIRROR]);

    let (hub, mirror) = world.pull("both:1");
    assert_eq!(hub, Vec::<String>::new(), "the mirror has it all");
    assert_eq!(blobs(&mirror), 2, "a configuration and a layer: {mirror:?}");
    assert_eq!(world.engine.must("docker image inspect -f '{{.RepoTags}}' both:1"), "[both:1]");

    let (hub, mirror) = world.pull("hubonly:1");
    assert!(mirror.iter().any(|request| request.contains("/v2/library/hubonly/manifests/1")), "{mirror:?}");
    assert_eq!((blobs(&hub), blobs(&mirror)), (2, 0));

    // A mirror is of the hub, whatever registry has an image of that name.
    world.engine.must("docker rmi both:1");
    let (hub, mirror) = world.pull("127.0.0.1:443/library/both:1");
    assert_eq!((blobs(&hub), mirror), (2, Vec::new()));

    // A push goes past mirrors.
    world.forget();
    world.engine.must("docker tag hubonly:1 pushed:1 && docker push pushed:1");
    assert_eq!(world.mirror().asked(), Vec::<String>::new());
    assert!(world.hub.asked().contains(&"PUT /v2/library/pushed/manifests/1".to_owned()));

    world.mirror().lose_layers();
    let (hub, mirror) = world.pull("broken:1");
    assert!(mirror.iter().any(|request| request.contains("/v2/library/broken/blobs/")), "{mirror:?}");
    assert!(blobs(&hub) >= 1, "what the mirror lost the hub has: {hub:?}");

    world.mirror = None;
    let (hub, _) = world.pull("later:1");
    assert_eq!(blobs(&hub), 2, "the mirror is down");
    let missing = world.engine.shell("docker pull nosuch:1");
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("manifest for nosuch:1 not found: manifest unknown: manifest unknown"), "{said}");
}

/// With `GOLDEN_RECORD=/path/to/dockerd` the story is told of that.
fn elder() -> Option<PathBuf> {
    std::env::var_os("GOLDEN_RECORD").map(Into::into)
}

/// The engine under test.
fn program() -> Option<PathBuf> {
    if let Err(reason) = engine::needs(&["busybox", "docker-registry", "nsenter", "openssl"]) {
        must_run::skip(&reason);
        return None;
    }
    Some(elder().unwrap_or_else(|| env!("CARGO_BIN_EXE_engined").into()))
}

#[test]
fn a_mirror_given_by_flag_is_tried_before_the_hub() {
    let Some(program) = program() else { return };
    mirrors_are_tried_first(&program, &["--registry-mirror", &format!("http://127.0.0.1:{MIRROR}")], "{}");
}

#[test]
fn a_mirror_given_in_the_file_is_tried_before_the_hub() {
    let Some(program) = program() else { return };
    let settings = format!(r#"{{"registry-mirrors": ["http://127.0.0.1:{MIRROR}/"]}}"#);
    mirrors_are_tried_first(&program, &[], &settings);
}
