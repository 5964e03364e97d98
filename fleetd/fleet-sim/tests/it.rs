//! A small simulation on a real etcd: every step is reached, nothing runs twice.

use fleet_sim::{Options, placements_per_second, simulate};
use fleet_testbed::Etcd;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_fleet_starts_and_recovers() {
    let Some(etcd) = Etcd::start() else { return };
    let options = Options {
        etcd_servers: vec![etcd.endpoint().to_owned()],
        machines: 40,
        units: 5,
        single: 20,
        json: false,
    };
    let figures = simulate(&options).await.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{figures}");
    let again = simulate(&options).await.expect_err("a store that is not empty is refused");
    assert!(format!("{again:#}").contains("holds a fleet already"), "{again:#}");
}

#[test]
fn the_scheduler_alone_is_measured_by_what_it_places() {
    assert!(placements_per_second(50, 500) > 0.0);
}
