//! A state disk that is full: the machine says so, stays within reach, and starts again.

use std::time::Duration;

use anyhow::{Result, ensure};
use system_tests::{Plain, Running};

#[test]
fn a_machine_with_a_full_state_disk_says_so_and_can_be_helped() -> Result<()> {
    let machine = Plain::new()?.disk(256)?;
    let config = machine.open_config()?.text();
    let machine = machine.config(&config)?;
    let mut running = machine.start()?;
    running.reached("ready")?;
    // The first restart finds room in what the machine gives up by itself, the second finds none.
    for _ in 0..2 {
        fill(&running)?;
        tells_and_serves(&running)?;
        running.as_root("systemctl poweroff")?;
        running.ended(Duration::from_secs(30))?;
        running = machine.start()?;
        running.reached("ready")?;
        tells_and_serves(&running)?;
    }
    let helped = running.as_root("rm /var/filler* && echo room > /root/note && cat /root/note")?;
    ensure!(helped.stdout == "room\n", "{helped:?}");
    Ok(())
}

/// Several times: what the machine itself keeps there may come and go meanwhile.
fn fill(running: &Running<'_>) -> Result<()> {
    let filled = running.as_root(
        "for n in 1 2 3; do dd if=/dev/zero bs=64K >> /var/filler$n; dd if=/dev/zero bs=1K >> /var/filler$n; sleep 2; done",
    )?;
    ensure!(filled.stderr.contains("No space left"), "{filled:?}");
    Ok(())
}

/// It warns, and the engine and ssh answer.
fn tells_and_serves(running: &Running<'_>) -> Result<()> {
    system_tests::eventually("it warns of its full disk", Duration::from_secs(90), || {
        let told = |report: &serde_json::Value| {
            report["message"].as_str().is_some_and(|text| text.starts_with("the state disk is full"))
        };
        running.reports().iter().any(told) && running.console().contains("the state disk is full")
    })?;
    ensure!(running.ssh("docker ps")?.contains("CONTAINER"));
    Ok(())
}
