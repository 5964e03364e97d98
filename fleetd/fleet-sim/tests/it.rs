//! A small simulation on a real etcd: every step is reached, nothing runs twice.

use std::time::Duration;

use fleet_sim::{Chaos, Options, placements_per_second, simulate};
use fleet_testbed::Etcd;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_fleet_starts_and_recovers() {
    let Some(etcd) = Etcd::start() else { return };
    let options = Options {
        start: None,
        data: None,
        etcd_servers: vec![etcd.endpoint().to_owned()],
        machines: 40,
        units: 5,
        single: 20,
        alone: 1000,
        json: false,
    };
    let figures = simulate(&options).await.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{figures}");
    assert_eq!(figures.overlaps, 0, "nobody is given up who lives");
    let again = simulate(&options).await.expect_err("a store that is not empty is refused");
    assert!(format!("{again:#}").contains("holds a fleet already"), "{again:#}");
}

#[test]
fn the_scheduler_alone_is_measured_by_what_it_places() {
    assert!(placements_per_second(50, 500) > 0.0);
}

/// `FLEET_TEST_SEED` repeats a run, `FLEET_TEST_CHAOS_S` makes it longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ways_to_the_store_may_fail_as_they_like() {
    let Some(etcd) = Etcd::start() else { return };
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |it| it.as_secs());
    let chaos = Chaos {
        store: etcd.endpoint().to_owned(),
        machines: 8,
        units: 40,
        lasts: Duration::from_secs(number("FLEET_TEST_CHAOS_S", 25)),
        seed: number("FLEET_TEST_SEED", now),
    };
    println!("seed {}", chaos.seed);
    let survived = chaos.run().await.unwrap_or_else(|error| panic!("seed {}: {error:#}", chaos.seed));
    println!("{survived:?}");
    assert!(survived.faults > 20, "{survived:?}");
}
