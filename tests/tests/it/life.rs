//! The life of one machine.

use std::time::Duration;

use anyhow::{Result, ensure};
use system_tests::{Workstation, eventually};

#[test]
fn a_machine_is_made_used_stopped_started_and_removed() -> Result<()> {
    let here = Workstation::new()?;
    here.rmachine(&["create", "-d", "qemu", "worker1"])?;
    ensure!(here.rmachine(&["status", "worker1"])?.trim() == "Running");
    let version = here.docker("worker1", &["version"])?;
    ensure!(version.contains("Server:"), "{version}");
    ensure!(here.try_rmachine(&["ssh", "worker1", "exit 7"])?.code == Some(7));
    ensure!(here.rmachine(&["ssh", "worker1", "echo $USER"])?.trim() == "core");

    here.rmachine(&["stop", "worker1"])?;
    ensure!(here.rmachine(&["status", "worker1"])?.trim() == "Stopped");
    here.rmachine(&["start", "worker1"])?;
    ensure!(here.docker("worker1", &["info", "--format", "{{.Name}}"])?.trim() == "worker1");
    here.rmachine(&["rm", "-y", "worker1"])?;
    ensure!(here.rmachine(&["ls", "-q"])?.is_empty());
    ensure!(!here.machine_dir("worker1").exists());
    Ok(())
}

#[test]
fn a_killed_machine_is_stopped_at_once_and_starts_again() -> Result<()> {
    let here = Workstation::new()?;
    here.rmachine(&["create", "-d", "qemu", "worker1"])?;
    let killed = system_tests::ran(
        std::process::Command::new("kill").args(["-9", &here.qemu_pid("worker1")?.to_string()]),
    )?;
    ensure!(killed.code == Some(0), "{killed:?}");
    eventually("ls says Stopped", Duration::from_secs(2), || {
        here.rmachine(&["ls", "--format", "{{.State}}"]).is_ok_and(|state| state.trim() == "Stopped")
    })?;
    here.rmachine(&["start", "worker1"])?;
    ensure!(here.docker("worker1", &["version"])?.contains("Server:"));
    Ok(())
}
