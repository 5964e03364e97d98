//! A create that is ended in the middle, by force or politely.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use system_tests::{Workstation, processes_naming, ran};

#[test]
fn a_create_that_is_killed_again_and_again_ends_with_one_machine() -> Result<()> {
    let here = Workstation::new()?;
    for ms in [5, 30, 80, 150, 250, 400, 700, 1500, 3000] {
        let mut create = here.command(&["create", "worker1"]).stderr(Stdio::null()).spawn()?;
        sleep(Duration::from_millis(ms));
        create.kill()?;
        create.wait()?;
    }
    let state = here.rmachine(&["ls", "-f", "{{.State}} {{.Error}}"])?;
    ensure!(state.contains("create was interrupted"), "{state}");
    here.rmachine(&["create", "worker1"])?;
    let id = here.rmachine(&["inspect", "-f", "{{.Id}}", "worker1"])?;
    ensure!(processes_naming(id.trim()).len() == 1, "not one QEMU");
    ensure!(here.rmachine(&["status", "worker1"])?.trim() == "Running");
    ensure!(here.docker("worker1", &["version"])?.contains("Server:"));
    here.rmachine(&["rm", "-y", "worker1"])?;
    ensure!(processes_naming(id.trim()).is_empty(), "a QEMU is left");
    Ok(())
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing() -> Result<()> {
    let here = Workstation::new()?;
    let mut create = here.command(&["create", "worker1"]).stderr(Stdio::null()).spawn()?;
    let pid_file = here.machine_dir("worker1").join("qemu.pid");
    system_tests::eventually("QEMU runs", Duration::from_secs(20), || pid_file.exists())?;
    let id = here.rmachine(&["inspect", "-f", "{{.Id}}", "worker1"])?;
    ran(Command::new("kill").args(["-INT", &create.id().to_string()]))?.stdout_if_ok("kill")?;
    let began = Instant::now();
    ensure!(create.wait()?.code() == Some(130));
    ensure!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    ensure!(here.rmachine(&["ls", "-q"])?.is_empty());
    ensure!(processes_naming(id.trim()).is_empty(), "a QEMU is left");
    Ok(())
}

#[test]
fn a_store_that_is_full_is_told_of_before_anything_is_made() -> Result<()> {
    let here = Workstation::new()?;
    // The image fits in, and little else does.
    let files = std::fs::read_dir(system_tests::image().context("there is no image")?)?;
    let image: u64 = files.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    let size = image + (2 << 20);
    let script = format!("mount -t tmpfs -o size={size} tmpfs \"$1\" && shift && exec \"$@\"");
    let create = here.command(&["create", "worker1"]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"]).arg(here.store());
    unshare.arg(create.get_program()).args(create.get_args());
    let told = ran(unshare.stdin(Stdio::null())).context("unshare is part of Debian's base")?;
    ensure!(told.code == Some(3), "{told:?}");
    ensure!(told.stderr.contains("is full") && told.stderr.contains("hint: make room"), "{}", told.stderr);
    Ok(())
}
