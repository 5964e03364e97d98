//! Mirrors of the hub. The hub itself is never reached: what is not on this machine is sent to a proxy that is
//! not there, and a pull that gets as far as asking for the hub has tried its mirrors.

use engine_image::registry::{Auth, Registry, RegistryConfig};
use engine_image::{Digest, Reference, Store};

use crate::{Place, image, place, registry, two_layers};

/// Pulls through these mirrors.
fn pull(place: &Place, store: &Store, name: &str, mirrors: &[String]) -> Result<Digest, String> {
    let config = RegistryConfig {
        mirrors: mirrors.to_vec(),
        proxies: engine_image::registry::Proxies {
            http: "http://127.0.0.1:9".into(),
            https: "http://127.0.0.1:9".into(),
            except: String::new(),
        },
        attempts: 1,
        ..RegistryConfig::default()
    };
    let reference = Reference::parse(name).expect("fine");
    let client = Registry::new(config);
    let (auth, sink) = (Auth::default(), place.sink());
    let pulled = client.pull(store, &reference, &auth, None, &sink);
    place.runtime.block_on(pulled).map_err(|error| error.report())
}

#[test]
fn the_first_mirror_that_has_an_image_gives_it() {
    let Some(place) = place() else { return };
    let Some(empty) = registry(place.folder.path(), "") else { return };
    let Some(full) = registry(place.folder.path(), "") else { return };
    let (one, anonymous) = (place.store("one"), Auth::default());
    let made = image(&one, &two_layers(), &format!("127.0.0.1:{}/library/app:1", full.port));
    place.push(&one, &format!("127.0.0.1:{}/library/app:1", full.port), &anonymous).expect("pushed");
    place.told();
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    // One that is down, one that has it not, one that has it.
    let mirrors = ["http://127.0.0.1:1".to_owned(), url(empty.port), url(full.port)];
    let two = place.store("two");
    assert_eq!(pull(&place, &two, "app:1", &mirrors), Ok(made.id));
    let told = place.told();
    assert_eq!(told[0], r#"{"status":"Pulling from library/app","id":"1"}"#);
    assert!(
        told.contains(&r#"{"status":"Status: Downloaded newer image for app:1"}"#.to_owned()),
        "{told:?}"
    );
    assert_eq!(two.lookup("app:1").expect("under the hub's name").id, made.id);
}

#[test]
fn without_help_of_mirrors_the_hub_is_asked() {
    let Some(place) = place() else { return };
    let Some(empty) = registry(place.folder.path(), "") else { return };
    let mirrors = ["http://127.0.0.1:1".to_owned(), format!("http://127.0.0.1:{}", empty.port)];
    let error = pull(&place, &place.store("one"), "app:1", &mirrors).expect_err("there is no hub");
    assert!(error.contains("https://registry-1.docker.io/v2/"), "{error}");
    // Mirrors are the hub's alone.
    let other = "127.0.0.1:1/app:1";
    let error = pull(&place, &place.store("two"), other, &mirrors).expect_err("nobody listens");
    assert!(error.contains("127.0.0.1:1/v2/"), "{error}");
}
