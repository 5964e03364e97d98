//! The contract, and the ways in which a machine can fail, on real virtual machines.
//!
//! They need qemu-system-x86_64 and an image: `RMACHINE_IMAGE`, or the one that `cargo xtask image`
//! left in the target folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use machine_core::boot::panic_sentence;
use machine_core::contract;
use machine_core::driver::{Cancel, Driver, DriverError, ErrorKind, Event, Observer, Place, Session};
use machine_driver_qemu::{QemuConfig, QemuDriver};
use machine_store::{Image, Store};
use uuid::Uuid;

/// A bare config: whatever the image starts by itself is started.
const IGNITION: &[u8] = br#"{"ignition": {"version": "3.3.0"}}"#;
/// A loaded machine of two cores that emulates everything.
const READY_LIMIT: Duration = Duration::from_secs(180);

struct Quiet;

impl Observer for Quiet {
    fn notice(&self, event: Event) {
        println!("{event:?}");
    }
}

/// A store with one machine to be. Nothing runs any more when it is gone.
struct Stage {
    _dir: tempfile::TempDir,
    place: Place,
    image: String,
}

impl Stage {
    fn new() -> Option<Self> {
        let source = release().or_else(|| {
            must_run::skip("no image; build one with `cargo xtask image`");
            None
        })?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|dir| dir.join("qemu-system-x86_64").is_file()) {
            must_run::skip("qemu-system-x86_64 is not installed");
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::at(dir.path()).expect("a store");
        let image = Image::add(&store, &source).expect("an image").id;
        let name = "m1".parse().expect("a name");
        let place =
            Place { store: store.root().to_owned(), dir: store.machine(&name), name, id: Uuid::new_v4() };
        store.make_dir(&place.dir).expect("the machine's folder");
        Some(Self { _dir: dir, place, image })
    }

    fn driver(&self, change: impl FnOnce(&mut QemuConfig)) -> QemuDriver {
        let mut config = QemuConfig::new(self.place.name.as_str(), self.place.id, &self.image);
        config.memory = 512;
        change(&mut config);
        QemuDriver::new(config)
    }

    /// Starts a machine that is not expected to get ready, and returns why it did not.
    fn failure(&self, mut driver: QemuDriver, ignition: &[u8], limit: Duration) -> (DriverError, Duration) {
        let cancel = Cancel::default();
        let session = Session { place: &self.place, observer: &Quiet, cancel: &cancel, ready_limit: limit };
        driver.create(&session, ignition).expect("made");
        driver.start(&session).expect("started");
        let start = Instant::now();
        let error = driver.wait_ready(&session).expect_err("it cannot get ready");
        let took = start.elapsed();
        driver.remove(&session).expect("removed");
        println!("{error} {:?} {}", error.evidence, error.hint);
        (error, took)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After a failed assertion a QEMU may still run.
        if let Err(error) = machine_driver_qemu::sweep(&self.place.dir) {
            eprintln!("{error}");
        }
    }
}

fn release() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("RMACHINE_IMAGE") {
        return Some(dir.into());
    }
    let program = std::env::current_exe().ok()?;
    let built = |dir: &Path| [dir.join("image/vm"), dir.join("target/image/vm")];
    program.ancestors().flat_map(built).find(|dir| dir.join("manifest.json").exists())
}

#[test]
fn the_driver_keeps_the_contract() {
    let Some(stage) = Stage::new() else { return };
    contract::check(&contract::Subject {
        place: &stage.place,
        new: &|| Box::new(stage.driver(|_| {})),
        load: &|data| Ok(Box::new(QemuDriver::load(data)?)),
        ignition: IGNITION,
        ready_limit: READY_LIMIT,
    });
}

#[test]
fn a_panic_is_told_with_the_kernels_own_words() {
    let Some(stage) = Stage::new() else { return };
    let driver = stage.driver(|config| config.cmdline = "rdinit=/nope init=/nope".into());
    let serial = stage.place.dir.join(machine_driver_qemu::files::SERIAL);
    let panicked = std::thread::spawn(move || {
        let panicked = || std::fs::read(&serial).is_ok_and(|log| panic_sentence(&log).is_some());
        let deadline = Instant::now() + READY_LIMIT;
        while !panicked() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        Instant::now()
    });
    let (error, _) = stage.failure(driver, IGNITION, READY_LIMIT);
    let after = panicked.join().expect("watched").elapsed();
    println!("told {after:?} after the panic");
    assert_eq!(error.kind, ErrorKind::Guest);
    assert!(error.message.contains("Kernel panic"), "{error}");
    assert!(!error.evidence.is_empty());
    assert!(after < Duration::from_secs(3), "told {after:?} after the panic");
}

#[test]
fn a_machine_that_says_nothing_ends_at_the_limit() {
    let Some(stage) = Stage::new() else { return };
    let limit = Duration::from_millis(1500);
    let (error, took) = stage.failure(stage.driver(|_| {}), IGNITION, limit);
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert!(error.message.contains("within 1 s"), "{error}");
    assert!(took >= limit && took < limit + Duration::from_secs(3), "it took {took:?}");
}

#[test]
fn a_config_that_cannot_be_applied_is_told_by_the_machine_itself() {
    let Some(stage) = Stage::new() else { return };
    let (error, _) = stage.failure(stage.driver(|_| {}), b"{\"ignition\": {}", READY_LIMIT);
    assert_eq!(error.kind, ErrorKind::Guest);
    assert!(error.message.starts_with("machine `m1` failed: "), "{error}");
}

#[test]
fn a_port_that_the_user_chose_does_not_move() {
    let Some(stage) = Stage::new() else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let mut driver = stage.driver(|config| config.open(machine_driver_qemu::ENGINE_PORT, port));
    let cancel = Cancel::default();
    let session =
        Session { place: &stage.place, observer: &Quiet, cancel: &cancel, ready_limit: READY_LIMIT };
    driver.create(&session, IGNITION).expect("made");
    let error = driver.start(&session).expect_err("the port is taken");
    assert!(error.message.contains(&port.to_string()), "{error}");
    let state = driver.state(&stage.place, Duration::from_secs(5)).expect("a state");
    assert_eq!(state, machine_types::State::Stopped);
    drop(taken);
    driver.start(&session).expect("the port is free");
    assert_eq!(driver.engine_url(), Some(format!("tcp://127.0.0.1:{port}")));
    driver.remove(&session).expect("removed");
}

#[test]
fn a_qemu_whose_folder_was_removed_by_hand_is_found_by_the_disk_it_holds() {
    let Some(stage) = Stage::new() else { return };
    let mut driver = stage.driver(|_| {});
    let cancel = Cancel::default();
    let session =
        Session { place: &stage.place, observer: &Quiet, cancel: &cancel, ready_limit: READY_LIMIT };
    driver.create(&session, IGNITION).expect("made");
    driver.start(&session).expect("started");
    assert_eq!(machine_driver_qemu::sweep_orphans(&stage.place.dir), 0, "its folder is there");
    std::fs::remove_dir_all(&stage.place.dir).expect("removed by hand");
    assert_eq!(machine_driver_qemu::sweep_orphans(&stage.place.dir), 1);
    assert_eq!(machine_driver_qemu::sweep_orphans(&stage.place.dir), 0);
}
