//! Clusters that find themselves, by each kind of discovery, and side by side.

use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use system_tests::{Cluster, Workstation, eventually};

/// A token service that ends with the test.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(here: &Workstation) -> Result<Service> {
    let child = here.command(&["discovery", "serve", "--listen", "127.0.0.1:0"]).spawn()?;
    let service = Service(child);
    eventually("tokens are served", Duration::from_secs(20), || {
        here.store().join("discovery.address").exists()
    })?;
    Ok(service)
}

const CREATE: [&str; 7] = ["create", "-d", "qemu", "--qemu-memory", "512", "--timeout", "300"];

#[test]
fn three_machines_find_each_other_by_a_token() -> Result<()> {
    let here = Workstation::new()?;
    let _service = serve(&here)?;
    let token = here.rmachine(&["discovery", "create"])?;
    let url = format!("token://{}", token.trim());
    here.rmachine(&[&CREATE[..], &["--cluster", "tok", "--discovery", &url, "a", "b", "c"]].concat())?;
    let cluster = Cluster { here, name: "tok" };
    ensure!(cluster.is_healthy());
    ensure!(cluster.kvctl(&["member", "list"])?.lines().count() == 3);
    Ok(())
}

#[test]
fn a_list_of_nodes_and_a_file_side_by_side() -> Result<()> {
    let here = Workstation::new()?;
    let file = here.store().join("nodes");
    std::fs::write(&file, "# ours\n10.66.9.20:2380\n10.66.9.21:2380\n")?;
    let url = format!("file://{}", file.display());
    let by_list = ["--cluster", "one", "--discovery", "nodes://10.66.9.[30:31]", "a1"];
    here.rmachine(&[&CREATE[..], &["--cluster", "two", "--discovery", &url, "b1", "b2"]].concat())?;
    let refused = here.try_rmachine(&["create", "--cluster", "x", "--discovery", "zk://a", "y"])?;
    ensure!(refused.code == Some(3) && refused.stderr.contains("zk://"), "{refused:?}");
    let mut first = here.command(&[&CREATE[..], &by_list].concat()).spawn().context("create")?;
    here.rmachine(
        &[&CREATE[..], &["--cluster", "one", "--discovery", "nodes://10.66.9.[30:31]", "a2"]].concat(),
    )?;
    ensure!(first.wait()?.success(), "the first waited for the second");
    for name in ["one", "two"] {
        ensure!(here.rmachine(&["kvctl", "--cluster", name, "--", "member", "list"])?.lines().count() == 2);
    }
    Ok(())
}

/// docker-machine's own way to a swarm, word by word.
#[test]
fn the_swarm_flags_make_a_cluster() -> Result<()> {
    let here = Workstation::new()?;
    let _service = serve(&here)?;
    let token = here.rmachine(&["discovery", "create"])?;
    let url = format!("token://{}", token.trim());
    let swarm = ["--swarm", "--swarm-discovery", &url];
    here.rmachine(&[&CREATE[..], &swarm, &["--swarm-master", "head"]].concat())?;
    for machine in ["one", "two"] {
        here.rmachine(&[&CREATE[..], &swarm, &[machine]].concat())?;
    }
    ensure!(here.rmachine(&["discovery", "list", &url])?.lines().count() == 3);
    let listed = here.rmachine(&["ls", "--format", "{{.Name}} {{.Swarm}}"])?;
    ensure!(listed.contains("head ") && listed.contains("(master)"), "{listed}");
    let clusters = here.rmachine(&["cluster", "ls", "-q"])?;
    let name = clusters.trim();
    ensure!(name.starts_with("swarm-"), "{clusters}");
    let members = here.rmachine(&["kvctl", "--cluster", name, "--", "member", "list"])?;
    ensure!(members.lines().count() == 3, "{members}");
    Ok(())
}
