//! Whatever goes wrong: never two droplets of one machine, and nothing left when it is removed.

use std::path::Path;
use std::time::Duration;

use machine_core::driver::{Cancel, Driver, DriverError, Event, Observer, Place, Session};
use machine_driver_digitalocean::{DigitalOceanDriver, DropletConfig, Timing, files};
use machine_types::State;
use uuid::Uuid;

use crate::mock::{Fault, Mock};

const TOKEN: &str = "dop_v1_secret";

struct Nobody;

impl Observer for Nobody {
    fn notice(&self, _event: Event) {}
}

fn quick() -> Timing {
    Timing {
        request: Duration::from_millis(500),
        call: Duration::from_secs(8),
        pause: Duration::from_millis(5),
        poll: Duration::from_millis(5),
        settle: Duration::from_millis(150),
        boot: Duration::from_millis(800),
    }
}

fn driver(mock: &Mock, id: Uuid) -> DigitalOceanDriver {
    let mut config = DropletConfig::new("w1", id, "4711");
    config.endpoint.clone_from(&mock.url);
    DigitalOceanDriver::new(config, Some(TOKEN.into())).with_timing(quick())
}

/// Makes a machine under a fault and removes it; says how making went.
fn live_and_die(fault: Fault) -> (Result<(), DriverError>, Mock) {
    let mock = Mock::start(fault);
    let dir = tempfile::tempdir().expect("a folder");
    let place = Place {
        store: dir.path().to_owned(),
        dir: dir.path().join("machines/w1"),
        name: "w1".parse().expect("a name"),
        id: Uuid::new_v4(),
    };
    std::fs::create_dir_all(&place.dir).expect("a folder");
    std::fs::write(place.dir.join(files::PUBLIC_KEY), "ssh-ed25519 AAAA w1\n").expect("written");
    let cancel = Cancel::default();
    let session =
        Session { place: &place, observer: &Nobody, cancel: &cancel, ready_limit: Duration::from_secs(1) };
    let mut driver = driver(&mock, place.id);
    let made = driver.check(&session).and_then(|()| driver.create(&session, b"{\"ignition\":{}}"));
    if made.is_ok() {
        assert_eq!(driver.address().as_deref(), Some("127.0.0.1"), "{fault:?}");
        assert_eq!(mock.world().droplets.len(), 1, "{fault:?}");
        assert_eq!(driver.state(&place, Duration::from_secs(5)).expect("a state"), State::Running);
        // A create that is repeated finds what is there.
        driver.create(&session, b"{\"ignition\":{}}").expect("repeated");
        assert_eq!(mock.world().droplets.len(), 1, "{fault:?}");
    }
    assert!(!driver.data().to_string().contains(TOKEN));
    nothing_has_the_token(dir.path());
    if let Err(error) = driver.remove(&session) {
        assert!(matches!(fault, Fault::Unauthorized | Fault::Forbidden), "{fault:?}: {error}");
    }
    (made, mock)
}

fn nothing_has_the_token(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        if entry.path().is_dir() {
            nothing_has_the_token(&entry.path());
        } else {
            let bytes = std::fs::read(entry.path()).expect("a file");
            assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "{entry:?}");
        }
    }
}

/// The machine is made in spite of it.
fn is_overcome(fault: Fault) {
    let (made, mock) = live_and_die(fault);
    made.unwrap_or_else(|error| panic!("{fault:?}: {error}: {:?}", error.source));
    nothing_is_left(fault, &mock);
}

/// The machine cannot be made, which is told.
fn is_told(fault: Fault, words: &str) {
    let (made, mock) = live_and_die(fault);
    let error = made.expect_err("it cannot be made");
    let text = format!("{error}: {:?} {}", error.source, error.hint);
    assert!(text.contains(words), "{fault:?}: {text}");
    nothing_is_left(fault, &mock);
}

fn nothing_is_left(fault: Fault, mock: &Mock) {
    let world = mock.world();
    assert!(world.droplets.is_empty(), "{fault:?} leaves a droplet");
    assert!(world.keys.is_empty(), "{fault:?} leaves a key");
    assert!(world.most <= 1, "{fault:?} made {} droplets", world.most);
    assert!(world.tokens.iter().all(|token| token == &format!("Bearer {TOKEN}")));
}

#[test]
fn a_machine_lives_and_dies() {
    is_overcome(Fault::None);
}

#[test]
fn lost_answers_never_make_a_second_droplet() {
    for fault in [
        Fault::CreateFails,
        Fault::CreateLies,
        Fault::CreateResets,
        Fault::CreateLostAfter,
        Fault::CreateHangs,
        Fault::CreateHangsAfter,
        Fault::CreateCut,
        Fault::CreateGarbage,
        Fault::CreateEmpty,
        Fault::CreateLostListsLate,
    ] {
        is_overcome(fault);
    }
}

#[test]
fn limits_and_bad_weather_are_waited_for() {
    for fault in [
        Fault::LimitedSeconds,
        Fault::LimitedDate,
        Fault::Flaky,
        Fault::GoneAtFirst,
        Fault::KeyLostAfter,
        Fault::ListFails,
        Fault::DeleteFails,
        Fault::DeleteLostAfter,
    ] {
        is_overcome(fault);
    }
}

#[test]
fn what_cannot_be_overcome_is_told_and_leaves_nothing() {
    is_told(Fault::Unauthorized, "Unable to authenticate you");
    is_told(Fault::Forbidden, "read only");
    is_told(Fault::Unprocessable, "invalid size");
    is_told(Fault::StuckNew, "no address");
    is_told(Fault::NoAddress, "no address");
}

#[test]
fn a_create_that_was_killed_leaves_a_list_that_rm_works_by() {
    let mock = Mock::start(Fault::StuckNew);
    let dir = tempfile::tempdir().expect("a folder");
    let place = Place {
        store: dir.path().to_owned(),
        dir: dir.path().to_owned(),
        name: "w1".parse().expect("a name"),
        id: Uuid::new_v4(),
    };
    std::fs::write(place.dir.join(files::PUBLIC_KEY), "ssh-ed25519 AAAA w1\n").expect("written");
    let cancel = Cancel::default();
    let session =
        Session { place: &place, observer: &Nobody, cancel: &cancel, ready_limit: Duration::from_secs(1) };
    driver(&mock, place.id).create(&session, b"{}").expect_err("it never runs");
    assert_eq!(mock.world().droplets.len(), 1);
    // What another rmachine knows is what the record kept, which may be from before the call.
    driver(&mock, place.id).remove(&session).expect("removed");
    nothing_is_left(Fault::StuckNew, &mock);
    assert!(!place.dir.join(files::CLEANUP).exists());
}
