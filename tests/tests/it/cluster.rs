//! Three machines that are one cluster. One cluster is made for all these stories: each leaves it whole.

use std::time::Duration;

use anyhow::{Result, ensure};
use system_tests::{Cluster, eventually};

const PATIENCE: Duration = Duration::from_secs(120);
const MACHINES: [&str; 3] = ["worker1", "worker2", "worker3"];
const HELLO: &str = "[Service]\nExecStart=/bin/sh -c 'while true; do echo hello; sleep 1; done'\n";

#[test]
fn three_machines_live_as_one() -> Result<()> {
    let cluster = Cluster::create("demo", &MACHINES, &[])?;
    used_from_the_workstation(&cluster)?;
    a_killed_machine_hands_its_units_over(&cluster)?;
    a_kv_outage_stops_nothing(&cluster)?;
    a_partition_heals(&cluster)?;
    a_lost_machine_is_replaced(&cluster)?;
    a_later_machine_joins(&cluster)?;
    one_leaves_and_joins_again(&cluster)?;
    a_token_is_rotated(&cluster)?;
    a_dead_switch_is_shown(&cluster)?;
    all_come_back_from_a_reboot(&cluster)?;
    no_port_is_open_without_a_certificate(&cluster)
}

fn used_from_the_workstation(cluster: &Cluster) -> Result<()> {
    ensure!(cluster.is_healthy());
    ensure!(cluster.fleetctl(&["list-machines", "--no-legend"])?.lines().count() == 3);
    ensure!(cluster.kvctl(&["put", "greeting", "hello"])?.trim() == "OK");
    ensure!(cluster.kvctl(&["get", "greeting", "--print-value-only"])?.trim() == "hello");
    for machine in MACHINES {
        ensure!(cluster.here.docker(machine, &["version"])?.contains("Server:"), "{machine}");
    }
    let unit = cluster.unit_file("hello.service", HELLO)?;
    cluster.fleetctl(&["start", &unit])?;
    eventually("hello runs", PATIENCE, || cluster.machine_of("hello.service").is_some())?;
    eventually("its journal is read", PATIENCE, || {
        cluster.fleetctl(&["journal", "hello.service"]).is_ok_and(|text| text.contains("hello"))
    })
}

fn a_killed_machine_hands_its_units_over(cluster: &Cluster) -> Result<()> {
    let Some(first) = cluster.machine_of("hello.service") else { anyhow::bail!("hello runs nowhere") };
    cluster.pull_the_plug(&first)?;
    eventually("hello runs elsewhere", PATIENCE, || {
        cluster.machine_of("hello.service").is_some_and(|now| now != first)
    })?;
    cluster.here.rmachine(&["start", "--timeout", "300", &first])?;
    eventually("the cluster is whole", PATIENCE, || cluster.is_healthy())
}

fn a_kv_outage_stops_nothing(cluster: &Cluster) -> Result<()> {
    let Some(machine) = cluster.machine_of("hello.service") else { anyhow::bail!("hello runs nowhere") };
    let main_pid = || cluster.here.rmachine(&["ssh", &machine, "systemctl show -p MainPID hello.service"]);
    let before = main_pid()?;
    for other in MACHINES {
        cluster.here.rmachine(&["ssh", &format!("root@{other}"), "systemctl stop kv.service"])?;
    }
    std::thread::sleep(Duration::from_secs(15));
    ensure!(main_pid()? == before, "hello was touched");
    for other in MACHINES {
        cluster.here.rmachine(&["ssh", &format!("root@{other}"), "systemctl start kv.service"])?;
    }
    eventually("the cluster is whole", PATIENCE, || cluster.is_healthy())?;
    ensure!(main_pid()? == before, "hello was touched afterwards");
    Ok(())
}

fn a_partition_heals(cluster: &Cluster) -> Result<()> {
    let Some(first) = cluster.machine_of("hello.service") else { anyhow::bail!("hello runs nowhere") };
    cluster.link(&first, false)?;
    eventually("hello runs on the larger side", PATIENCE, || {
        cluster.machine_of("hello.service").is_some_and(|now| now != first)
    })?;
    // A member that has lost the others, and is asked first, keeps a client waiting as etcd's do.
    eventually("the larger side takes writes", PATIENCE, || {
        cluster.kvctl(&["put", "side", "larger"]).is_ok_and(|said| said.trim() == "OK")
    })?;
    cluster.link(&first, true)?;
    eventually("the cluster is whole", PATIENCE, || cluster.is_healthy())
}

fn a_lost_machine_is_replaced(cluster: &Cluster) -> Result<()> {
    cluster.pull_the_plug("worker3")?;
    std::fs::remove_dir_all(cluster.here.machine_dir("worker3"))?;
    let create = ["create", "-d", "qemu", "--qemu-memory", "512", "--timeout", "300", "--cluster", "demo"];
    cluster.here.rmachine(&[&create[..], &["worker3"]].concat())?;
    eventually("the cluster is whole", PATIENCE, || cluster.is_healthy())?;
    ensure!(cluster.kvctl(&["member", "list"])?.lines().count() == 3);
    Ok(())
}

fn a_later_machine_joins(cluster: &Cluster) -> Result<()> {
    let create = ["create", "-d", "qemu", "--qemu-memory", "512", "--timeout", "300", "--cluster", "demo"];
    cluster.here.rmachine(&[&create[..], &["worker4"]].concat())?;
    ensure!(cluster.kvctl(&["member", "list"])?.lines().filter(|line| line.ends_with("false")).count() == 4);
    cluster.here.rmachine(&["rm", "-y", "worker4"])?;
    eventually("its member is gone", PATIENCE, || {
        cluster.kvctl(&["member", "list"]).is_ok_and(|members| members.lines().count() == 3)
    })
}

fn one_leaves_and_joins_again(cluster: &Cluster) -> Result<()> {
    cluster.here.rmachine(&["cluster", "leave", "worker3"])?;
    ensure!(cluster.kvctl(&["member", "list"])?.lines().count() == 2);
    eventually("the fleet knows two", PATIENCE, || {
        cluster.fleetctl(&["list-machines", "--no-legend"]).is_ok_and(|text| text.lines().count() == 2)
    })?;
    ensure!(cluster.here.docker("worker3", &["version"])?.contains("Server:"), "it goes on alone");
    let again = cluster.here.try_rmachine(&["cluster", "leave", "worker3"])?;
    ensure!(again.code == Some(1) && again.stderr.contains("is in no cluster"), "{again:?}");
    cluster.here.rmachine(&["cluster", "join", "demo", "worker3"])?;
    eventually("the cluster is whole", PATIENCE, || cluster.is_healthy())?;
    ensure!(cluster.kvctl(&["member", "list"])?.lines().count() == 3);
    let again = cluster.here.try_rmachine(&["cluster", "join", "demo", "worker3"])?;
    ensure!(again.code == Some(1) && again.stderr.contains("is a member of cluster `demo` already"));
    Ok(())
}

fn a_token_is_rotated(cluster: &Cluster) -> Result<()> {
    let token = |words: &[&str]| cluster.here.rmachine(&[&["cluster", "token", "demo"], words].concat());
    let (worker, manager) = (token(&[])?, token(&["--manager"])?);
    ensure!(worker.starts_with("SWMTKN-1-") && worker != manager);
    let new = token(&["--rotate"])?;
    ensure!(new != worker && token(&[])? == new && token(&["--manager"])? == manager);
    let join = |token: &str| {
        let words =
            format!("fleetctl join --dir /run/tls --id guest --token {} 127.0.0.1:49153", token.trim());
        cluster.here.try_rmachine(&["ssh", "root@worker1", &words])
    };
    let refused = join(&worker)?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("was rotated"), "{refused:?}");
    ensure!(join(&new)?.stdout.contains("Machine guest joined as worker"));
    cluster.fleetctl(&["remove", "guest"])?;
    Ok(())
}

fn a_dead_switch_is_shown(cluster: &Cluster) -> Result<()> {
    let listed = |words: &str| cluster.here.rmachine(&["ls"]).map(|text| text.matches(words).count());
    ensure!(listed("switch is gone")? == 0);
    let store = cluster.here.store().display().to_string();
    let pids: Vec<i32> = system_tests::processes_naming("network-switch")
        .into_iter()
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains(&store))
        })
        .collect();
    ensure!(pids.len() == 1, "{pids:?}");
    let killed = std::process::Command::new("kill").args(["-9", &pids[0].to_string()]).status()?;
    ensure!(killed.success());
    eventually("each machine says so", PATIENCE, || listed("switch is gone").is_ok_and(|count| count == 3))?;
    cluster.here.rmachine(&[&["start", "--timeout", "300"], &MACHINES[..]].concat())?;
    eventually("the cluster is whole", Duration::from_secs(240), || cluster.is_healthy())?;
    ensure!(listed("switch is gone")? == 0);
    Ok(())
}

fn all_come_back_from_a_reboot(cluster: &Cluster) -> Result<()> {
    for machine in MACHINES {
        cluster.here.try_rmachine(&["ssh", &format!("root@{machine}"), "reboot"])?;
    }
    std::thread::sleep(Duration::from_secs(5));
    eventually("the cluster is whole", Duration::from_secs(240), || cluster.is_healthy())?;
    ensure!(cluster.kvctl(&["get", "greeting", "--print-value-only"])?.trim() == "hello");
    eventually("hello runs again", PATIENCE, || cluster.machine_of("hello.service").is_some())
}

fn no_port_is_open_without_a_certificate(cluster: &Cluster) -> Result<()> {
    for machine in MACHINES {
        let table = cluster.here.rmachine(&["ssh", machine, "cat /proc/net/tcp /proc/net/tcp6"])?;
        let listening = table.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words.get(3) == Some(&"0A"))
                .then(|| u16::from_str_radix(words[1].rsplit_once(':')?.1, 16).ok())?
        });
        let open: std::collections::BTreeSet<u16> = listening.collect();
        ensure!(open.iter().all(|port| [22, 2376, 2379, 2380, 49153].contains(port)), "{machine}: {open:?}");
        for port in ["2376", "2379", "49153"] {
            let listed = cluster.here.rmachine(&["port", "ls", machine])?;
            let Some(line) = listed.lines().find(|line| line.contains(&format!("{port}/tcp"))) else {
                continue;
            };
            let at = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap_or_default();
            let answer =
                system_tests::ran(std::process::Command::new("openssl").args(["s_client", "-connect", at]))?;
            ensure!(!answer.stdout.contains("HTTP/1.1 200"), "{machine} {port}");
        }
    }
    Ok(())
}
