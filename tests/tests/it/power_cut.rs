//! The power goes at the worst moments: the machine comes back, and has what it had on its disk.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use system_tests::{Plain, Running, ran};

#[test]
fn power_cuts_during_the_first_boot_leave_no_trace() -> Result<()> {
    let machine = Plain::new()?.disk(2048)?;
    let config = machine.open_config()?.file("/etc/motd", 0o644, "declared\n").file("/opt/tool", 0o755, "x");
    let machine = machine.config(&config.text())?;
    for moment in ["init", "state", "network", "ignition"] {
        let mut running = machine.start()?;
        running.reached(moment)?;
        running.cut_power()?;
    }
    let mut running = machine.start()?;
    running.reached("ready")?;
    // At once: what makes the machine usable must have been on the disk before it said so.
    running.cut_power()?;
    let mut running = machine.start()?;
    running.reached("ready")?;
    ensure!(running.report("state").unwrap_or_default()["detail"] == "2048 MiB on /dev/vda");
    ensure!(running.ssh("cat /etc/motd; stat -c %a%U /opt/tool")? == "declared\n755root\n");
    power_cuts_in_service_lose_nothing_that_was_synced(&machine, running)
}

fn power_cuts_in_service_lose_nothing_that_was_synced(machine: &Plain, running: Running<'_>) -> Result<()> {
    running.ssh("for i in $(seq 50); do echo $i > note.$i; done; sync; mkdir later; touch later/maybe")?;
    let identity = running.ssh("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")?;
    running.cut_power()?;
    let mut running = machine.start()?;
    running.reached("ready")?;
    let kept = running.ssh("for i in $(seq 50); do cat note.$i; done")?;
    ensure!(kept.lines().map(str::parse::<u32>).eq((1..=50).map(Ok)), "{kept}");
    ensure!(running.ssh("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")? == identity);
    ensure!(running.ssh("journalctl -b -1 -n 1")?.lines().count() >= 1, "the journal forgot the last boot");
    running.as_root("systemctl poweroff")?;
    running.ended(Duration::from_secs(30))?;
    let mut judge = Command::new("e2fsck");
    let verdict = ran(judge.arg("-fn").arg(machine.path("state.raw")))?;
    ensure!(verdict.code == Some(0), "{verdict:?}");
    Ok(())
}
