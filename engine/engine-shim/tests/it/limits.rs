//! Limits hold, are told, and can be changed; everything can be frozen.

use std::time::Duration;

use engine_runtime::Resources;
use engine_runtime::Streams;
use engine_runtime::spec::Rlimit;

use crate::rig::rig;

#[tokio::test]
async fn too_much_memory_is_killed_and_told() {
    let Some(rig) = rig() else { return };
    if !rig.runtime.cgroups().has("memory") {
        println!("skipped: no memory controller");
        return;
    }
    let limits = Resources { memory: Some(16 << 20), memory_swap: Some(16 << 20), ..Resources::default() };
    let mut spec = rig.spec(&["sh", "-c", "tail /dev/zero"]);
    let container = rig.prepare_limited(&mut spec, &limits).await.unwrap();
    let outcome = rig.run_prepared(container).await.unwrap();
    assert!(outcome.exit.oom_killed, "{outcome:?}");
    assert_eq!(outcome.exit.code, 137);
}

#[tokio::test]
async fn too_many_processes_are_refused() {
    let Some(rig) = rig() else { return };
    let limits = Resources { pids: Some(10), ..Resources::default() };
    let mut spec = rig.shell("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait");
    let container = rig.prepare_limited(&mut spec, &limits).await.unwrap();
    let outcome = rig.run_prepared(container).await.unwrap();
    assert!(outcome.err().contains("can't fork"), "{outcome:?}");
    assert!(!outcome.exit.oom_killed);
}

#[tokio::test]
async fn stats_processes_pause_and_update() {
    let Some(rig) = rig() else { return };
    let limits = Resources {
        memory: Some(64 << 20),
        nano_cpus: Some(500_000_000),
        pids: Some(50),
        ..Resources::default()
    };
    let mut spec = rig.shell("echo ready; while :; do echo; done > /dev/null");
    let container = rig.prepare_limited(&mut spec, &limits).await.unwrap();
    let mut stream = container.attach(Streams::OUTPUT).await.unwrap();
    container.start().await.unwrap();
    stream.output.next().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stats = container.stats().unwrap();
    assert!(stats.cpu_total > 1_000_000, "{stats:?}");
    assert_eq!((stats.memory_limit, stats.pids_limit), (64 << 20, Some(50)));
    assert!(stats.memory_usage > 0 && stats.pids >= 1);
    assert!(container.pids().unwrap().contains(&container.pid()));

    container.pause().await.unwrap();
    let frozen = container.stats().unwrap().cpu_total;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(container.stats().unwrap().cpu_total, frozen);
    container.unpause().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(container.stats().unwrap().cpu_total > frozen);

    container.update(&Resources { memory: Some(128 << 20), ..Resources::default() }).unwrap();
    assert_eq!(container.stats().unwrap().memory_limit, 128 << 20);
    container.pause().await.unwrap();
    container.kill_all().unwrap();
    container.unpause().await.unwrap();
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), container.wait()).await.unwrap().code, 137);
    rig.runtime.remove(container.id()).await.unwrap();
}

#[tokio::test]
async fn ulimits_are_set_or_lowered_with_a_warning() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.shell("ulimit -n; ulimit -Hn; ulimit -c");
    let limit = |name: &str, soft, hard| Rlimit { name: name.into(), soft, hard };
    spec.process.rlimits = vec![limit("nofile", 100, 200), limit("core", 0, 0)];
    assert_eq!(rig.run(spec).await.unwrap().out(), "100\n200\n0\n");
    let most = engine_shim::sys::get_rlimit(libc::RLIMIT_NOFILE).unwrap().1;
    let mut spec = rig.shell("ulimit -Hn");
    spec.process.rlimits = vec![limit("nofile", 1 << 19, 1 << 19)];
    let container = rig.prepare(&mut spec).await.unwrap();
    let warned = container.warnings().iter().any(|warning| warning.contains("CAP_SYS_RESOURCE"));
    let got: u64 = rig.run_prepared(container).await.unwrap().out().trim().parse().unwrap();
    assert!(got == 1 << 19 || (warned && got == most), "{got}");
}
