//! Many orphans, a stuck service at shutdown, memory, and the speed of a start.

use std::fs;
use std::time::{Duration, Instant};

use units_api::{Client, Method};

use crate::world::World;

fn children(pid: u32) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().count()
}

fn memory_kib(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
}

#[test]
fn ten_thousand_orphans_are_reaped() {
    let Some(world) = World::ours("orphans") else { return };
    // Each `( : & )` leaves a process whose parent is gone.
    let script = "i=0; while [ $i -lt 10000 ]; do ( : & ); i=$((i+1)); done; echo done";
    world.write_unit(
        "o.service",
        &format!("[Service]\nType=oneshot\nTimeoutStartSec=300\nExecStart=/bin/sh -c '{script}'\n"),
    );
    let start = Instant::now();
    assert_eq!(world.systemctl(&["start", "o.service"]).0, 0);
    let deadline = Instant::now() + Duration::from_secs(10);
    while children(world.pid()) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(children(world.pid()), 0, "no zombie is left");
    assert_eq!(world.property("o.service", "Result"), "success");
    eprintln!(
        "10,000 orphans in {:?}, private memory {} KiB",
        start.elapsed(),
        memory_kib(world.pid(), "Private_Dirty:")
    );
}

#[test]
fn a_fork_bomb_stays_inside_its_unit() {
    let Some(world) = World::ours("bomb") else { return };
    // The limit of tasks needs a cgroup v2 with that controller; the limit of the user's processes works
    // everywhere, so that this machine survives in any case.
    world.write_unit(
        "bomb.service",
        "[Service]\nUser=nobody\nTasksMax=60\nLimitNPROC=60\nTimeoutStopSec=2\n\
         ExecStart=/bin/bash -c 'b() { b | b & }; b; while :; do sleep 1; done'\nStandardError=null\n",
    );
    world.write_unit("calm.service", "[Service]\nExecStart=/bin/sleep 1000\n");
    assert_eq!(world.systemctl(&["start", "bomb"]).0, 0);
    std::thread::sleep(Duration::from_secs(2));
    let begin = Instant::now();
    assert_eq!(world.systemctl(&["start", "calm"]).0, 0);
    assert_eq!(world.property("calm.service", "ActiveState"), "active");
    assert!(begin.elapsed() < Duration::from_secs(10), "the supervisor answers: {:?}", begin.elapsed());
    let group = world.cgroup().join("system.slice/bomb.service/cgroup.procs");
    let inside = fs::read_to_string(&group).unwrap_or_default().lines().count();
    assert!(inside <= 120, "{inside} processes");
    let begin = Instant::now();
    assert_eq!(world.systemctl(&["stop", "bomb"]).0, 0);
    assert!(begin.elapsed() < Duration::from_secs(15), "it ends: {:?}", begin.elapsed());
    assert_eq!(fs::read_to_string(&group).unwrap_or_default(), "", "nothing of it is left");
    assert_eq!(world.property("calm.service", "ActiveState"), "active");
    eprintln!("{inside} processes, ended in {:?}", begin.elapsed());
}

#[test]
fn a_stuck_service_does_not_hold_up_the_end() {
    let Some(mut world) = World::ours("stuck") else { return };
    world.write_unit(
        "stuck.service",
        "[Service]\nExecStart=/bin/sh -c 'trap : TERM INT HUP; while :; do sleep 1; done'\n",
    );
    world.write_unit(
        "forker.service",
        "[Service]\nExecStart=/bin/sh -c 'setsid sleep 1000 & setsid sleep 1000 & wait'\n",
    );
    assert_eq!(world.systemctl(&["start", "stuck", "forker"]).0, 0);
    let start = Instant::now();
    assert_eq!(world.systemctl(&["poweroff"]).0, 0);
    while !world.has_ended() {
        assert!(start.elapsed() < Duration::from_secs(12), "the deadline of 10 s has passed");
        std::thread::sleep(Duration::from_millis(20));
    }
    let left = fs::read_to_string(world.cgroup().join("cgroup.events")).unwrap_or_default();
    assert!(left.contains("populated 0"), "{left}");
    eprintln!("ended after {:?}", start.elapsed());
}

#[test]
fn starts_are_quick_and_memory_stays_small() {
    let Some(world) = World::ours("speed") else { return };
    for number in 0..100 {
        world.write_unit(&format!("s{number}.service"), "[Service]\nExecStart=/bin/sleep 1000\n");
    }
    let socket = world.socket();
    let mut client = Client::connect(&socket, Some(Duration::from_secs(30))).expect("connects");
    let mut times = Vec::new();
    for number in 0..100 {
        let begin = Instant::now();
        let jobs = client.start(&format!("s{number}.service"), true).expect("starts");
        times.push(begin.elapsed());
        assert_eq!(jobs[0].result, "done");
    }
    times.sort();
    let private = memory_kib(world.pid(), "Private_Dirty:");
    eprintln!(
        "start: median {:?}, worst {:?}; private memory with 100 services {private} KiB",
        times[50], times[99]
    );
    assert!(times[50] < Duration::from_millis(100), "{times:?}");
    assert!(private < 8 * 1024, "{private} KiB");
    let states = client.list().expect("lists");
    assert_eq!(
        states.iter().filter(|state| state.sub == "running" && state.name.ends_with(".service")).count(),
        100
    );
}

#[test]
fn fleet_style_clients_submit_watch_and_remove() {
    let Some(world) = World::ours("client") else { return };
    let socket = world.socket();
    let deadline = Some(Duration::from_secs(10));
    let mut watcher = Client::connect(&socket, deadline).expect("connects");
    watcher.subscribe().expect("subscribes");
    let mut client = Client::connect(&socket, deadline).expect("connects");
    let text = "[Unit]\nDescription=From afar\n[Service]\nExecStart=/bin/sleep 100\n[X-Fleet]\nGlobal=true\n[Install]\nWantedBy=multi-user.target\n";
    client.submit("far.service", text).expect("submits");
    client.enable("far.service", true).expect("enables");
    client.start("far.service", true).expect("starts");
    let state = &client.status(&["far.service"]).expect("tells")[0];
    assert_eq!(
        (state.load.as_str(), state.active.as_str(), state.sub.as_str()),
        ("loaded", "active", "running")
    );
    assert_eq!(state.description, "From afar");
    let seen = loop {
        let event = watcher.next_event().expect("an event");
        if event.name == "far.service" && event.sub == "running" {
            break event;
        }
    };
    assert_eq!(seen.main_pid, state.main_pid);
    client.stop("far.service", true).expect("stops");
    client.remove("far.service").expect("removes");
    assert_eq!(client.status(&["far.service"]).expect("tells")[0].load, "not-found");
    assert!(client.start("far.service", true).is_err());
    assert!(client.call(Method::Ping).expect("still answers").ok);
}
