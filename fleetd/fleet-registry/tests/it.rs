//! The registry against a real etcd, started here on loopback ports of its own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fleet_registry::{
    Assignment, Change, CreateOutcome, DEFAULT_PREFIX, MachineRecord, Move, Registry, RegistryError,
    StateRecord, StoredUnit,
};
use fleet_unit::{TargetState, UnitName, UnitOptions};

struct Etcd {
    child: Child,
    _data: tempfile::TempDir,
    endpoint: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    listener.local_addr().expect("it is bound").port()
}

/// A store for one test; nothing (and a line saying so) where no etcd is installed.
async fn store() -> Option<(Etcd, Registry)> {
    let data = tempfile::tempdir().expect("a temporary directory");
    let (client, peer) =
        (format!("http://127.0.0.1:{}", free_port()), format!("http://127.0.0.1:{}", free_port()));
    let child = Command::new("etcd")
        .args(["--data-dir", &data.path().to_string_lossy(), "--name", "one"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("one={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        must_run::skip("no etcd on this machine");
        return None;
    };
    let etcd = Etcd { child, _data: data, endpoint: client };
    let mut config = kv_client::Config::new([etcd.endpoint.clone()]);
    config.request_timeout = Duration::from_secs(20);
    let registry =
        Registry::new(kv_client::Client::new(config).expect("a sound configuration"), DEFAULT_PREFIX);
    for _ in 0..100 {
        if registry.snapshot().await.is_ok() {
            return Some((etcd, registry));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("etcd does not serve");
}

fn name(text: &str) -> UnitName {
    text.parse().expect("a valid name")
}

fn unit(text: &str, target: TargetState) -> StoredUnit {
    StoredUnit { options: UnitOptions::parse(text).expect("parses"), target }
}

const PLAIN: &str = "[Service]\nExecStart=/bin/true\n";
const GLOBAL: &str = "[Service]\nExecStart=/bin/true\n[X-Fleet]\nGlobal=true\n";

#[tokio::test]
async fn units_are_put_changed_and_destroyed() -> Result<(), RegistryError> {
    let Some((_etcd, registry)) = store().await else { return Ok(()) };
    let a = name("a.service");
    let plain = unit(PLAIN, TargetState::Inactive);
    assert_eq!(registry.put_unit(&a, &plain).await?, CreateOutcome::Created);
    assert_eq!(registry.put_unit(&a, &plain).await?, CreateOutcome::Unchanged);
    assert_eq!(registry.put_unit(&a, &unit(GLOBAL, TargetState::Inactive)).await?, CreateOutcome::Replaced);
    registry.set_target(&a, TargetState::Launched).await?;
    assert_eq!(registry.unit(&a).await?.map(|it| it.target), Some(TargetState::Launched));
    let missing = registry.set_target(&name("b.service"), TargetState::Loaded).await;
    assert!(matches!(missing, Err(RegistryError::NoUnit)));
    registry.destroy_unit(&a).await?;
    assert!(matches!(registry.destroy_unit(&a).await, Err(RegistryError::NoUnit)));
    assert!(registry.snapshot().await?.units.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_global_unit_is_told_to_every_machine_while_it_is_wished() -> Result<(), RegistryError> {
    let Some((_etcd, registry)) = store().await else { return Ok(()) };
    let everywhere = name("everywhere.service");
    registry.put_unit(&everywhere, &unit(GLOBAL, TargetState::Inactive)).await?;
    assert!(registry.desired_of("m1").await?.global.is_empty());
    registry.set_target(&everywhere, TargetState::Launched).await?;
    let desired = registry.desired_of("m1").await?;
    assert_eq!(desired.global.get(&everywhere).map(|it| it.target), Some(TargetState::Launched));
    registry.destroy_unit(&everywhere).await?;
    assert!(registry.desired_of("m1").await?.global.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_machine_and_its_states_go_with_its_lease() -> Result<(), RegistryError> {
    let Some((_etcd, registry)) = store().await else { return Ok(()) };
    let lease = registry.machine_lease(Duration::from_secs(30)).await?;
    let record = MachineRecord {
        metadata: [("disk".to_owned(), "hdd".to_owned()), ("zone".to_owned(), "a".to_owned())].into(),
        ..MachineRecord::default()
    };
    registry.register_machine("m1", &record, &lease).await?;
    let state = StateRecord { active: "active".into(), ..StateRecord::default() };
    let states: BTreeMap<_, _> =
        (0..300).map(|n| (name(&format!("u{n}.service")), Some(state.clone()))).collect();
    registry.publish_states("m1", &states, &lease).await?;
    registry.set_metadata("m1", "disk", Some("ssd")).await?;
    registry.set_metadata("m1", "zone", None).await?;
    let snapshot = registry.snapshot().await?;
    assert_eq!(snapshot.machines["m1"].metadata, [("disk".to_owned(), "ssd".to_owned())].into());
    assert_eq!(snapshot.states.len(), 300);
    lease.revoke().await?;
    let snapshot = registry.snapshot().await?;
    assert!(snapshot.machines.is_empty() && snapshot.states.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_deposed_scheduler_writes_nothing() -> Result<(), RegistryError> {
    let Some((etcd, registry)) = store().await else { return Ok(()) };
    let a = name("a.service");
    let assignment = Assignment::new(UnitOptions::parse(PLAIN).expect("parses"), TargetState::Launched);
    let to = |machine: &str| Some((machine.to_owned(), assignment.clone()));
    let first = registry.lead("first", Duration::from_secs(30)).await?;
    registry.apply_moves(&[Move { unit: a.clone(), from: None, to: to("m1") }], &first).await?;
    assert_eq!(registry.leader().await?.as_deref(), Some("first"));
    // The store takes the lead away, as it does when a lease runs out, and the first does not know.
    let client = kv_client::Client::new(kv_client::Config::new([etcd.endpoint.clone()])).expect("a client");
    client.delete_prefix(registry.keys().scheduler()).await.expect("the store answers");
    let second = registry.lead("second", Duration::from_secs(30)).await?;
    assert!(second.fence() > first.fence());
    let away = [Move { unit: a.clone(), from: Some("m1".into()), to: to("m2") }];
    assert!(matches!(registry.apply_moves(&away, &first).await, Err(RegistryError::Deposed)));
    assert_eq!(registry.snapshot().await?.machine_of(&a), Some("m1"));
    registry.apply_moves(&[Move { unit: a.clone(), from: Some("m1".into()), to: to("m2") }], &second).await?;
    registry.apply_moves(&[Move { unit: a.clone(), from: Some("m2".into()), to: to("m2") }], &second).await?;
    assert_eq!(registry.snapshot().await?.machine_of(&a), Some("m2"));
    registry.apply_moves(&[Move { unit: a.clone(), from: Some("m2".into()), to: None }], &second).await?;
    assert_eq!(registry.snapshot().await?.machine_of(&a), None);
    Ok(())
}

#[tokio::test]
async fn changes_are_seen_in_their_order() -> Result<(), RegistryError> {
    let Some((_etcd, registry)) = store().await else { return Ok(()) };
    let revision = registry.snapshot().await?.revision;
    let mut watch = registry.watch_all(revision).await?;
    let a = name("a.service");
    registry.put_unit(&a, &unit(PLAIN, TargetState::Inactive)).await?;
    registry.set_draining("m1", true).await?;
    registry.set_draining("m1", false).await?;
    registry.destroy_unit(&a).await?;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(watch.next().await?.changes);
    }
    let expected = [
        Change::Unit(a.clone(), Some(unit(PLAIN, TargetState::Inactive))),
        Change::Drain("m1".into(), true),
        Change::Drain("m1".into(), false),
        Change::Unit(a, None),
    ];
    assert_eq!(seen, expected);
    Ok(())
}
