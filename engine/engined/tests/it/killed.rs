//! An engine that is killed at any moment loses no container, log line or exit code, and leaves nothing half.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::engine::{self, Engine};
use crate::registries::Registry;

pub(crate) fn set_up(programs: &[&str]) -> Option<Engine> {
    if let Err(reason) = engine::needs(programs) {
        must_run::skip(&reason);
        return None;
    }
    let engine = Engine::start(Path::new(env!("CARGO_BIN_EXE_engined"))).expect("the engine starts");
    engine.import_busybox().expect("busybox is imported");
    Some(engine)
}

/// A line of shell that runs beside the test.
fn beside(engine: &Engine, line: &str) -> Child {
    let mut command = engine.inside("sh");
    command.args(["-c", line]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("sh runs")
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < end, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_new_engine_takes_everything_over() {
    let Some(mut engine) = set_up(&["busybox", "nsenter"]) else { return };
    engine.must("docker network create net");
    // A line every 5 ms for about five seconds, over the engine's death.
    engine.must(
        "docker run -d --name writer busybox sh -c 'i=0; while [ $i -lt 800 ]; do echo line $i; i=$((i+1)); usleep 5000; done; exit 7'",
    );
    engine.must("docker run -d --name ender busybox sh -c 'sleep 1.5; exit 3'");
    engine.must("docker run -d --name gone --rm busybox sleep 1.5");
    engine.must("docker run -d --name back --restart always busybox sleep 1.5");
    engine.must("docker run -d --name held busybox sleep 999 && docker pause held");
    engine.must("docker run -d --name peer --network net busybox sleep 999");
    engine.must("docker run -d --name server --network net -p 127.0.0.1:8083:80 busybox sh -c 'mkdir /w && echo page >/w/index.html && exec httpd -f -h /w'");
    engine.must("docker run -d --name well --health-cmd true --health-interval 300ms busybox sleep 999");
    engine.must("docker create --name never busybox true");
    let address = "docker inspect -f '{{.NetworkSettings.Networks.net.IPAddress}} {{.State.Pid}} {{.State.StartedAt}}' server";
    let before = engine.must(address);
    let mut follower = beside(&engine, "docker logs -f writer >/dev/null");
    engine.kill();
    let cut = follower.wait().expect("it ends");
    assert!(!cut.success(), "a follower must notice that the engine died");
    std::thread::sleep(Duration::from_secs(2));
    engine.start_again().expect("the engine starts again");
    let state = |name: &str| {
        engine.must(&format!("docker inspect -f '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' {name}"))
    };
    assert_eq!(state("ender"), "exited 3");
    assert_eq!(state("held"), "paused 0");
    assert_eq!(state("never"), "created 0");
    assert_eq!(engine.must(address), before);
    eventually("--rm is caught up on", || !engine.shell("docker inspect gone").status.success());
    eventually("the restart policy is caught up on", || state("back") == "running 0");
    eventually("the health check goes on", || {
        engine.must("docker inspect -f '{{.State.Health.Status}}' well") == "healthy"
    });
    let page =
        beside(&engine, "busybox wget -qO- http://127.0.0.1:8083/").wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&page.stdout).trim(), "page");
    assert_eq!(engine.must("docker exec peer wget -qO- http://server/"), "page");
    engine.must("docker unpause held && docker stop -t 0 held");
    assert_eq!(engine.must("docker wait writer"), "7");
    let written = engine.must("docker logs writer");
    let expected: Vec<String> = (0..800).map(|i| format!("line {i}")).collect();
    assert_eq!(written.lines().collect::<Vec<_>>(), expected, "lines of the log are missing");
    engine.must("docker rm -f $(docker ps -aq) && docker network rm net");
}

/// Work that is under way when the engine dies.
const STORMS: [(&str, &str); 6] = [
    ("create", "while :; do docker create busybox true; done"),
    ("run", "while :; do docker run --rm busybox echo x; docker run -d busybox sleep 0.1; done"),
    (
        "build",
        "while :; do printf 'FROM busybox\\nRUN head -c 3000000 /dev/urandom >/x\\nRUN date +%N >/y\\n' | docker build --no-cache -t built -; done",
    ),
    ("load", "while :; do docker load -i saved.tar; docker rmi big; done"),
    ("pull", "while :; do docker pull 127.0.0.1:5000/big; docker rmi 127.0.0.1:5000/big; done"),
    (
        "remove",
        "while :; do docker rm -f $(docker run -d -v /v busybox sleep 99) ; docker network rm $(docker network create n); done",
    ),
];

#[test]
fn a_kill_in_the_middle_leaves_nothing_half() {
    let Some(mut engine) = set_up(&["busybox", "nsenter", "docker-registry"]) else { return };
    let registry = Registry::start(&engine, 5000, None);
    prepare_big(&engine);
    let rounds: u64 = std::env::var("KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let clean = things(&engine);
    for (number, (name, storm)) in (0..rounds).flat_map(|r| STORMS.iter().map(move |s| (r, s))) {
        let mut work = beside(&engine, &format!("cd {} && {storm}", engine.dir.path().display()));
        // Somewhere in the work, elsewhere each time.
        std::thread::sleep(Duration::from_millis(300 + 137 * (number % 9)));
        engine.kill();
        end_group(&mut work);
        engine.start_again().unwrap_or_else(|e| panic!("after a kill in {name}: {e}"));
        check_whole(&engine, name);
        engine.must(
            "docker ps -aq | xargs -r docker rm -f -v && docker network prune -f && docker volume prune -f",
        );
        engine.must("docker rmi -f built big 127.0.0.1:5000/big >/dev/null 2>&1; docker image prune -f");
        settle(&engine, &clean, name);
    }
    drop(registry);
}

fn end_group(work: &mut Child) {
    // `timeout` passes the signal on to all that it started.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(work.id()).expect("a pid fits"));
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    let _ = work.wait();
}

/// What the engine lists can be used.
fn check_whole(engine: &Engine, name: &str) {
    let containers = engine.must("docker ps -aq --no-trunc");
    for id in containers.lines() {
        engine.must(&format!("docker inspect {id} >/dev/null"));
    }
    for image in engine.must("docker images -aq --no-trunc").lines() {
        let out = engine.must(&format!("docker run --rm {image} echo whole"));
        assert_eq!(out, "whole", "after a kill in {name}");
    }
}

/// Waits until nothing is left but what was there before.
fn settle(engine: &Engine, before: &BTreeSet<String>, name: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let after = things(engine);
        if after == *before {
            return;
        }
        let left: Vec<_> = after.symmetric_difference(before).collect();
        assert!(Instant::now() < end, "after {name} these are left, or gone: {left:#?}\n{}", engine.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Everything an engine may leave behind, by kind. A layer's `unsynced` mark is none of it: it goes when the
/// background sync of an image made earlier ends, at any moment.
fn things(engine: &Engine) -> BTreeSet<String> {
    let root = engine.dir.path().display();
    let cgroup = engine.cgroup();
    let listing = format!(
        "ip -o link | sed -E 's/^[0-9]+: ([^:@]*).*/link \\1/'
        find {root}/root -mindepth 2 -maxdepth 3 -not -path '*/image/blobs/*' -not -path '*/image/l/*' -not -path '*/image/unsynced/*'
        find {root}/exec -type d 2>/dev/null
        find /sys/fs/cgroup -type d -path '*{cgroup}/*'
        ps -eo args | grep -F {root} | grep engine-shim | grep -v grep
        command -v nft >/dev/null && nft -s list ruleset | sed -E 's/^[[:space:]]*/nft /'"
    );
    let mut command = engine.inside("sh");
    let done = command.args(["-c", &listing]).output().expect("sh runs");
    let listed = String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    listed.into_iter().chain(mounts(engine)).collect()
}

/// Every mount that the engine sees: what of which file system is where.
fn mounts(engine: &Engine) -> Vec<String> {
    let table = std::fs::read_to_string(engine.mount_table()).expect("the namespaces are held");
    let shown = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        Some(format!("mount {} at {}", fields.next()?, fields.next()?))
    };
    table.lines().filter_map(shown).collect()
}

/// An image of a few layers, in a file and in the registry.
fn prepare_big(engine: &Engine) {
    engine.must(
        "printf 'FROM busybox\\nRUN head -c 9000000 /dev/urandom >/a\\nRUN head -c 9000000 /dev/urandom >/b\\n' | docker build -q -t big -",
    );
    engine.must(&format!("docker save -o {}/saved.tar big", engine.dir.path().display()));
    engine.must("docker tag big 127.0.0.1:5000/big");
    engine.must("docker push -q 127.0.0.1:5000/big");
    engine.must("docker rmi big 127.0.0.1:5000/big && docker image prune -f");
}

/// `STRESS` times, or a number that fits into CI.
fn times(few: usize) -> usize {
    std::env::var("STRESS").ok().and_then(|n| n.parse().ok()).unwrap_or(few)
}

#[test]
fn cycles_leak_nothing() {
    let Some(engine) = set_up(&["busybox", "nsenter"]) else { return };
    let cycle = "docker run --name cycle -p 127.0.0.1:8084:80 -v /anonymous --tmpfs /t busybox true && docker start -a cycle && docker rm -v cycle";
    // The first one makes what stays: folders, tables.
    engine.must(cycle);
    eventually("the first is cleaned up", || engine.shell("docker ps -aq").stdout.is_empty());
    let before = things(&engine);
    let open = open_files(&engine);
    for _ in 0..times(15) {
        engine.must(cycle);
    }
    settle(&engine, &before, "cycles");
    assert!(
        open_files(&engine) <= open + 8,
        "descriptors leak: {} before, {} after",
        open,
        open_files(&engine)
    );
}

/// A cable of the user's own, between the host and a container that was given no network.
#[test]
fn a_hand_made_veth_works_and_goes_with_its_container() {
    let Some(engine) = set_up(&["busybox", "nsenter"]) else { return };
    // The first one makes what stays.
    engine.must("docker run --rm --network none busybox true");
    eventually("the first is cleaned up", || engine.shell("docker ps -aq").stdout.is_empty());
    let before = things(&engine);
    engine.must("docker run -d --name bare --network none busybox sleep 999");
    assert_eq!(engine.must("docker exec bare ls /sys/class/net"), "lo");
    assert!(engine.must("docker exec bare ip -o addr").contains("inet 127.0.0.1/8"), "the loopback is down");
    let pid = engine.must("docker inspect -f '{{.State.Pid}}' bare");
    let lines = format!(
        "ip link add cable type veth peer name eth9 && ip link set eth9 netns {pid} &&
        ip addr add 10.55.0.1/24 dev cable && ip link set cable up &&
        nsenter -t {pid} -n ip addr add 10.55.0.2/24 dev eth9 && nsenter -t {pid} -n ip link set eth9 up"
    );
    let made = engine.inside("sh").args(["-c", &lines]).output().expect("sh runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let reached = engine.must("docker exec bare ping -c1 -W5 10.55.0.1");
    assert!(reached.contains(" 0% packet loss"), "{reached}");
    let back =
        engine.inside("busybox").args(["ping", "-c1", "-W5", "10.55.0.2"]).output().expect("ping runs");
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stdout));
    // Its end takes the cable along, and a new start has none.
    engine.must("docker restart -t 0 bare");
    assert_eq!(engine.must("docker exec bare ls /sys/class/net"), "lo");
    engine.must("docker rm -f bare");
    settle(&engine, &before, "a hand-made veth");
}

fn open_files(engine: &Engine) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", engine.pid())).expect("the engine runs").count()
}

#[test]
fn no_output_is_lost_and_nothing_hangs() {
    let Some(engine) = set_up(&["busybox", "nsenter"]) else { return };
    let each = times(60).div_ceil(6);
    let work: Vec<Child> = (0..6)
        .map(|worker| {
            let line = format!(
                "i=0; while [ $i -lt {each} ]; do \
                   out=$(timeout 60 docker run --rm busybox sh -c \"seq 1 200; echo {worker}-$i; exit $((i % 100 + 1))\"); \
                   code=$?; [ $code = $((i % 100 + 1)) ] || echo \"code $code of {worker}-$i\"; \
                   want=$(seq 1 200; echo {worker}-$i); [ \"$out\" = \"$want\" ] || echo \"output of {worker}-$i\"; \
                   i=$((i + 1)); done"
            );
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &line]).env("DOCKER_HOST", format!("unix://{}", engine.socket().display()));
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("sh runs")
        })
        .collect();
    let wrong: String = work
        .into_iter()
        .map(|child| String::from_utf8_lossy(&child.wait_with_output().expect("it ends").stdout).into_owned())
        .collect();
    assert!(wrong.is_empty(), "{wrong}\n--- engine\n{}", engine.log());
    eventually("all are gone", || engine.shell("docker ps -aq").stdout.is_empty());
}
