//! What every driver promises, as one suite: each driver's tests run it against the real thing.

use std::fs;
use std::time::{Duration, Instant};

use machine_types::State;

use crate::driver::{Cancel, Driver, DriverError, ErrorKind, Event, Observer, Place, Session};

/// How a driver under test is made.
pub struct Subject<'a> {
    /// Where the machine is to be kept; its folder exists and is empty.
    pub place: &'a Place,
    /// Makes the driver of a new machine.
    pub new: &'a dyn Fn() -> Box<dyn Driver>,
    /// Makes the driver from what `config.json` keeps.
    pub load: &'a dyn Fn(serde_json::Value) -> Result<Box<dyn Driver>, DriverError>,
    /// The machine's Ignition config.
    pub ignition: &'a [u8],
    /// How long it may take until it is ready.
    pub ready_limit: Duration,
}

struct Nobody;

impl Observer for Nobody {
    fn notice(&self, event: Event) {
        println!("{event:?}");
    }
}

impl Subject<'_> {
    fn session<'a>(&'a self, cancel: &'a Cancel) -> Session<'a> {
        Session { place: self.place, observer: &Nobody, cancel, ready_limit: self.ready_limit }
    }

    fn state(&self, driver: &dyn Driver) -> State {
        driver.state(self.place, Duration::from_secs(5)).expect("a state")
    }
}

/// Runs the whole suite. Panics at the first promise that is broken.
pub fn check(subject: &Subject<'_>) {
    let driver = (subject.new)();
    what_is_kept_makes_the_same_driver(subject, driver.as_ref());
    a_check_makes_nothing(subject);
    if driver.has_own_engine() {
        a_machine_of_others_is_left_alone(subject);
    } else {
        a_machine_lives(subject);
        giving_up_takes_no_time(subject);
    }
}

fn what_is_kept_makes_the_same_driver(subject: &Subject<'_>, driver: &dyn Driver) {
    let data = driver.data();
    let again = (subject.load)(data.clone()).expect("its own data is readable");
    assert_eq!(again.data(), data);
    assert_eq!(again.name(), driver.name());
    assert!((subject.load)(serde_json::json!(["no", "machine"])).is_err(), "other data is refused");
}

fn a_check_makes_nothing(subject: &Subject<'_>) {
    let cancel = Cancel::default();
    (subject.new)().check(&subject.session(&cancel)).expect("this machine can be made");
    assert_eq!(fs::read_dir(&subject.place.dir).expect("its folder").count(), 0);
}

fn a_machine_of_others_is_left_alone(subject: &Subject<'_>) {
    let cancel = Cancel::default();
    let session = subject.session(&cancel);
    let mut driver = (subject.new)();
    driver.create(&session, subject.ignition).expect("nothing is made");
    assert_eq!(subject.state(driver.as_ref()), State::Running);
    for refused in [driver.stop(&session), driver.kill(&session), driver.start(&session)] {
        assert_eq!(refused.expect_err("it is not ours").kind, ErrorKind::Unsupported);
    }
    driver.remove(&session).expect("forgotten");
    driver.remove(&session).expect("forgotten twice");
}

fn a_machine_lives(subject: &Subject<'_>) {
    let cancel = Cancel::default();
    let session = subject.session(&cancel);
    let mut driver = (subject.new)();
    for _ in 0..2 {
        driver.create(&session, subject.ignition).expect("made, and found made");
        assert_eq!(subject.state(driver.as_ref()), State::Stopped);
    }
    for _ in 0..2 {
        driver.start(&session).expect("started, and found started");
        assert!(matches!(subject.state(driver.as_ref()), State::Starting | State::Running));
    }
    driver.wait_ready(&session).expect("ready");
    assert_eq!(subject.state(driver.as_ref()), State::Running);
    assert!(driver.engine_url().is_some() && driver.address().is_some() && driver.ssh().is_some());
    let mut other = (subject.load)(driver.data()).expect("another rmachine reads it");
    assert_eq!(subject.state(other.as_ref()), State::Running);
    for _ in 0..2 {
        other.stop(&session).expect("stopped, and found stopped");
        assert_eq!(subject.state(driver.as_ref()), State::Stopped);
    }
    driver.start(&session).expect("started again");
    for _ in 0..2 {
        driver.kill(&session).expect("killed, and found off");
        assert_eq!(subject.state(driver.as_ref()), State::Stopped);
    }
    driver.start(&session).expect("started once more");
    for _ in 0..2 {
        driver.remove(&session).expect("removed, and found removed");
        assert_eq!(subject.state(driver.as_ref()), State::Stopped);
    }
}

fn giving_up_takes_no_time(subject: &Subject<'_>) {
    let cancel = Cancel::default();
    let session = subject.session(&cancel);
    let mut driver = (subject.new)();
    driver.create(&session, subject.ignition).expect("made");
    driver.start(&session).expect("started");
    cancel.cancel();
    let start = Instant::now();
    let error = driver.wait_ready(&session).expect_err("given up");
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(3), "it took {:?}", start.elapsed());
    driver.remove(&session).expect("removed even so");
    assert_eq!(subject.state(driver.as_ref()), State::Stopped);
}
