//! A machine without a disk, booted over the network by QEMU's own DHCP and TFTP.

use std::path::Path;

use anyhow::{Result, ensure};
use system_tests::{Plain, Running, Web, ran};

#[test]
fn a_machine_of_256_mib_boots_over_the_network_and_lives_in_memory() -> Result<()> {
    let machine = Plain::new()?.memory(256);
    let web = Web::serve([("/config.ign".to_owned(), machine.open_config()?.text())].into())?;
    let machine = machine.from_network(&format!(
        "#!ipxe\nset rmachine-args ignition.config.url={}\nchain boot.ipxe\n",
        web.from_machine("/config.ign")
    ))?;
    let mut running = machine.start()?;
    running.reached("ready")?;
    let state = running.report("state").unwrap_or_default();
    ensure!(state["detail"] == "no state disk: everything is kept in memory", "{state}");
    ensure!(running.ssh("docker version")?.contains("Server"));
    ensure!(running.ssh("grep ' /var ' /proc/mounts")?.contains("tmpfs"));
    files_go_there_and_back(&running, &machine.path("sent"), &machine.path("returned"))?;
    a_terminal_is_there_for_whoever_logs_in(&running)
}

/// With the stock `ssh`: what is typed is edited, remembered and run.
fn a_terminal_is_there_for_whoever_logs_in(machine: &Running<'_>) -> Result<()> {
    let up_and_to_the_start = "\x1b[A\x01";
    let shown = machine.session(&format!(
        "echo in$((40+2))side\n{up_and_to_the_start}W=x; \necho $W-$TERM; tty\nfor i in 1 2\ndo echo lo$i\ndone\nexit 7\n"
    ))?;
    for wanted in ["in42side\r\n", "x-", "/dev/pts/", "lo2\r\n"] {
        ensure!(shown.stdout.contains(wanted), "{wanted:?} is missing: {:?}", shown.stdout);
    }
    ensure!(shown.stdout.matches("in42side\r\n").count() == 2, "{:?}", shown.stdout);
    ensure!(shown.code == Some(7), "{shown:?}");
    Ok(())
}

/// With the stock `scp` and `sftp`.
fn files_go_there_and_back(machine: &Running<'_>, sent: &Path, returned: &Path) -> Result<()> {
    let content: Vec<u8> = (0..1_500_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(sent, &content)?;
    let there = "core@127.0.0.1:/home/core/sent";
    ran(machine.copier("scp").arg(sent).arg(there))?.stdout_if_ok("scp to the machine")?;
    let size = machine.ssh("stat -c %s /home/core/sent")?;
    ensure!(size.trim() == "1500000", "{size}");
    let batch = sent.with_extension("batch");
    let renamed = "rename /home/core/sent /home/core/kept\nmkdir /home/core/dir\nls /home/core\n";
    std::fs::write(&batch, format!("{renamed}get /home/core/kept {}\n", returned.display()))?;
    let listed = ran(machine.copier("sftp").arg("-b").arg(&batch).arg("core@127.0.0.1"))?;
    let listed = listed.stdout_if_ok("sftp")?;
    ensure!(listed.contains("kept") && listed.contains("dir"), "{listed}");
    ensure!(std::fs::read(returned)? == content, "it came back changed");
    Ok(())
}
