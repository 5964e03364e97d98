//! One store, many machines.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use system_tests::Workstation;

#[test]
fn eight_parallel_creates_on_a_fresh_store_share_one_authority() -> Result<()> {
    let here = Workstation::new()?;
    let url = "tcp://127.0.0.1:1";
    let names: Vec<String> = (1..=8).map(|n| format!("m{n}")).collect();
    let creates: Vec<_> = names
        .iter()
        .map(|name| here.command(&["create", "-d", "none", "--url", url, name]).stderr(Stdio::null()).spawn())
        .collect::<Result<_, _>>()?;
    for mut create in creates {
        ensure!(create.wait()?.success());
    }
    let authority = std::fs::read(here.store().join("certs/ca.pem"))?;
    for name in &names {
        let dir = here.machine_dir(name);
        ensure!(std::fs::read(dir.join("ca.pem"))? == authority, "{name} has another authority");
        let verified = std::process::Command::new("openssl")
            .arg("verify")
            .arg("-CAfile")
            .arg(here.store().join("certs/ca.pem"))
            .arg(dir.join("cert.pem"))
            .output()
            .context("openssl is needed")?;
        ensure!(verified.status.success(), "{name}: {verified:?}");
    }
    Ok(())
}

#[test]
fn a_moved_store_still_works() -> Result<()> {
    let here = Workstation::new()?;
    here.rmachine(&["create", "-d", "qemu", "worker1"])?;
    let elsewhere = here.store().with_extension("moved");
    std::fs::rename(here.store(), &elsewhere)?;
    let there = |words: &[&str]| {
        let mut moved = std::process::Command::new(here.command(&[]).get_program());
        moved.arg("-s").arg(&elsewhere).args(words).stdin(Stdio::null());
        system_tests::ran(&mut moved)
    };
    let told = (|| {
        ensure!(there(&["ssh", "worker1", "exit 3"])?.code == Some(3));
        for verb in ["stop", "start"] {
            let told = there(&[verb, "worker1"])?;
            ensure!(told.code == Some(0), "{verb}: {told:?}");
        }
        ensure!(there(&["status", "worker1"])?.stdout.trim() == "Running");
        Ok(())
    })();
    let back = std::fs::rename(&elsewhere, here.store());
    told.and(back.context("the store did not move back"))
}
