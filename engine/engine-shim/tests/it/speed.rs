//! What the steps cost. Printed for the record; the bars are far above what even
//! a machine with ten busy builds needs, to catch a wrong turn (a poll, a lost
//! wake-up) only.

use std::time::{Duration, Instant};

use engine_runtime::spec::{ExecSpec, Log, Process};
use engine_runtime::{Resources, Streams};

use crate::rig::{collect, rig};

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn starting_stays_cheap() {
    let Some(rig) = rig() else { return };
    let (mut cgroup, mut prepare, mut start, mut wait, mut remove) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..40 {
        let mut spec = rig.spec(&["true"]);
        let clock = Instant::now();
        spec.cgroup = rig.runtime.make_cgroup(&spec.id, &Resources::default()).unwrap().spec();
        cgroup.push(clock.elapsed());
        let container = rig.runtime.prepare(&spec).await.unwrap();
        prepare.push(clock.elapsed());
        container.start().await.unwrap();
        start.push(clock.elapsed());
        container.wait().await;
        wait.push(clock.elapsed());
        rig.runtime.remove(&spec.id).await.unwrap();
        remove.push(clock.elapsed());
        // A loop without pauses hides what the kernel's locks cost.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let total = median(wait.clone());
    println!(
        "cumulative medians: cgroup {:?}, prepared {:?}, started {:?}, exit seen {total:?}, removed {:?}",
        median(cgroup),
        median(prepare),
        median(start),
        median(remove)
    );
    assert!(total < Duration::from_secs(1), "{total:?}");
}

#[tokio::test]
async fn exec_and_kill_stay_cheap() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.spec(&["sleep", "100"]);
    let process = spec.process.clone();
    let container = rig.prepare(&mut spec).await.unwrap();
    container.start().await.unwrap();
    let mut times = vec![];
    for number in 0..40 {
        let clock = Instant::now();
        let process = Process { args: vec!["true".into()], ..process.clone() };
        let exec = ExecSpec { id: format!("e{number}"), process, stdin: false };
        let (_, stream) = container.exec(exec, Streams::OUTPUT).await.unwrap();
        assert_eq!(collect(&mut stream.unwrap().output).await.exit.code, 0);
        times.push(clock.elapsed());
    }
    let clock = Instant::now();
    container.signal(None, libc::SIGKILL).await.unwrap();
    container.wait().await;
    let killed = clock.elapsed();
    let exec = median(times);
    println!("exec true: median {exec:?}; kill to wait: {killed:?}");
    rig.runtime.remove(container.id()).await.unwrap();
    assert!(exec < Duration::from_millis(500) && killed < Duration::from_secs(2), "{exec:?} {killed:?}");
}

#[tokio::test]
async fn logging_keeps_up() {
    let Some(rig) = rig() else { return };
    let line = "x".repeat(99);
    let mut spec = rig.shell(&format!("yes {line} | head -c 200000000"));
    spec.log = Log::JsonFile { path: rig.path("log"), max_size: 0, max_file: 1, attrs: Default::default() };
    let container = rig.prepare(&mut spec).await.unwrap();
    let clock = Instant::now();
    container.start().await.unwrap();
    container.wait().await;
    let took = clock.elapsed();
    println!("200 MB of 100-byte lines logged at {:.0} MB/s", 200.0 / took.as_secs_f64());
    rig.runtime.remove(container.id()).await.unwrap();
    let written = std::fs::metadata(rig.path("log")).unwrap().len();
    assert!(written > 2_000_000 * 160, "{written}");
}
