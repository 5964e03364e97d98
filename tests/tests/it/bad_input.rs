//! What goes wrong ends soon, says what, where and what next, and leaves nothing behind.

use anyhow::{Result, ensure};
use system_tests::Workstation;

#[test]
fn a_broken_ignition_config_is_told_by_line_before_anything_runs() -> Result<()> {
    let here = Workstation::new()?;
    let config = here.store().join("broken.ign");
    std::fs::write(&config, "{\n  \"ignition\": { \"version\": \"3.3.0\" }\n  \"storage\": {}\n}\n")?;
    let ran =
        here.try_rmachine(&["create", "-d", "qemu", "--ignition", &config.to_string_lossy(), "worker1"])?;
    ensure!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
    ensure!(ran.stderr.contains("broken.ign:3"), "the line is not named: {}", ran.stderr);
    ensure!(here.rmachine(&["ls", "-q"])?.is_empty(), "something was left");
    Ok(())
}

#[test]
fn a_name_that_is_taken_or_no_name_is_refused() -> Result<()> {
    let here = Workstation::new()?;
    let ran = here.try_rmachine(&["create", "-d", "qemu", "no/name"])?;
    ensure!(ran.code == Some(1) || ran.code == Some(3), "{ran:?}");
    ensure!(ran.stderr.contains("no/name"), "{}", ran.stderr);
    ensure!(here.rmachine(&["ls", "-q"])?.is_empty());
    Ok(())
}
