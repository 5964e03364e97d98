//! What flags and daemon.json say reaches containers, networks and the engine itself. That every flag is known, and
//! which are refused, is tested beside the table of options.

use std::path::Path;
use std::process::Command;

use crate::engine::{self, Engine};

const FILE: &str = r#"{
    "labels": ["kind=test"],
    "dns": ["9.9.9.9"], "dns-opts": ["ndots:3"], "dns-search": ["example.test"],
    "default-ulimits": { "nofile": { "Name": "nofile", "Soft": 77, "Hard": 99 } },
    "log-opts": { "max-size": "5m" },
    "proxies": { "http-proxy": "http://user:secret@127.0.0.1:3128" },
    "default-address-pools": [{ "base": "10.77.0.0/16", "size": 24 }],
    "icc": false
}"#;

const FLAGS: &str = "--mtu 1400 --default-shm-size 8m --init --no-new-privileges --seccomp-profile unconfined \
    --ip 127.0.0.1 --fixed-cidr 172.30.7.0/24 --host-gateway-ip 10.9.8.7 --default-ipc-mode shareable \
    --default-network-opt bridge=com.docker.network.driver.mtu=1300 --metrics-addr 127.0.0.1:9323 \
    --oom-score-adjust 5 --default-cgroupns-mode private";

/// A line of shell, and what is among its output.
const EFFECTS: &[(&str, &str)] = &[
    ("docker info -f '{{.Labels}}'", "[kind=test]"),
    ("docker info -f '{{.HTTPProxy}}'", "http://xxxxx:xxxxx@127.0.0.1:3128"),
    ("docker info -f '{{.SecurityOptions}}'", "name=no-new-privileges"),
    ("docker run --rm busybox cat /sys/class/net/eth0/mtu", "1400"),
    ("docker run --rm busybox grep nameserver /etc/resolv.conf", "nameserver 9.9.9.9"),
    ("docker run --rm busybox grep search /etc/resolv.conf", "search example.test"),
    ("docker run --rm busybox grep options /etc/resolv.conf", "options ndots:3"),
    ("docker run --rm busybox sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)'", "77 99"),
    ("docker run --rm busybox df -k /dev/shm | grep -o ' 8192 '", "8192"),
    ("docker run --rm busybox sh -c '[ $$ != 1 ] && echo below an init'", "below an init"),
    ("docker run --rm busybox grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
    (
        "docker run --rm --security-opt no-new-privileges=false busybox grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t0",
    ),
    ("docker run --rm busybox grep Seccomp: /proc/self/status", "Seccomp:\t0"),
    ("docker run -d --name main -p 8085:80 busybox sleep 999 && docker port main", "127.0.0.1:8085"),
    // What the container may not gain, a program that joins it may not either.
    ("docker exec main grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
    ("docker inspect -f '{{.HostConfig.LogConfig.Config}}' main", "map[max-size:5m]"),
    ("docker inspect -f '{{.HostConfig.IpcMode}} {{.HostConfig.CgroupnsMode}}' main", "shareable private"),
    ("docker inspect -f '{{.NetworkSettings.IPAddress}}' main", "172.30.7."),
    (
        "docker run --rm busybox sh -c \"ping -c1 -W1 $(docker inspect -f '{{.NetworkSettings.IPAddress}}' main) || echo kept apart\"",
        "kept apart",
    ),
    ("docker run --rm --add-host up:host-gateway busybox grep up /etc/hosts", "10.9.8.7\tup"),
    ("docker network create net && docker network inspect -f '{{json .IPAM.Config}}' net", "10.77.0.0/24"),
    ("docker run --rm --network net busybox cat /sys/class/net/eth0/mtu", "1300"),
    (
        "docker network create -o com.docker.network.driver.mtu=1200 own && docker run --rm --network own busybox cat /sys/class/net/eth0/mtu",
        "1200",
    ),
];

#[test]
fn settings_have_their_effect() {
    if let Err(reason) = engine::needs(&["busybox", "nsenter"]) {
        return must_run::skip(&reason);
    }
    let flags: Vec<&str> = FLAGS.split_whitespace().collect();
    let engine = Engine::start_with(Path::new(env!("CARGO_BIN_EXE_engined")), &flags, FILE)
        .expect("the engine starts");
    engine.import_busybox().expect("busybox is imported");
    for (line, wanted) in EFFECTS {
        let got = engine.must(line);
        assert!(got.contains(wanted), "{line}\nwanted {wanted:?}, got {got:?}");
    }
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", engine.pid())).expect("it runs");
    assert_eq!(score.trim(), "5");
    let page = engine.inside("busybox").args(["wget", "-qO-", "http://127.0.0.1:9323/metrics"]).output();
    let page = String::from_utf8_lossy(&page.expect("wget runs").stdout).into_owned();
    assert!(page.contains("engine_daemon_engine_info{") && page.contains("# TYPE "), "{page}");
}

/// Neither takes a data root nor opens a socket.
#[test]
fn settings_can_be_checked_without_starting() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("daemon.json");
    let check = |text: &str, flags: &[&str]| {
        std::fs::write(&file, text).expect("it is ours");
        let mut engined = Command::new(env!("CARGO_BIN_EXE_engined"));
        let done = engined
            .arg("--validate")
            .arg("--config-file")
            .arg(&file)
            .arg("--data-root")
            .arg(dir.path().join("root"))
            .args(flags)
            .output()
            .expect("it runs");
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    assert_eq!(check("{}", &["--icc=false"]), (true, "configuration OK\n".into()));
    let (good, said) = check(r#"{"userns-remap": "default"}"#, &[]);
    assert!(!good && said.lines().count() == 1 && said.contains("run containers with --user"), "{said}");
    assert!(!dir.path().join("root").exists());
}
