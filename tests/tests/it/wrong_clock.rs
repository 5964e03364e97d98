//! A machine whose clock lost its battery.

use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use system_tests::Workstation;

#[test]
fn a_clock_of_1970_keeps_no_client_out() -> Result<()> {
    let here = Workstation::new()?;
    let program = here.store().join("qemu-of-1970");
    std::fs::write(&program, "#!/bin/sh\nexec qemu-system-x86_64 -rtc base=1970-01-01T00:00:00 \"$@\"\n")?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    here.rmachine(&["create", "-d", "qemu", "--qemu-program", &program.to_string_lossy(), "worker1"])?;
    ensure!(here.docker("worker1", &["version"])?.contains("Server:"));
    let seconds = |command: &str| -> Result<u64> {
        let text = here.rmachine(&["ssh", "worker1", command])?;
        text.trim().parse().with_context(|| format!("`{command}` says {text}"))
    };
    let (now, built) = (seconds("date +%s")?, seconds("cat /usr/lib/build-date")?);
    ensure!(now >= built, "the clock shows {now}, the image was built at {built}");
    // However old the image is: the machine's certificate is of today.
    let right = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    ensure!(right - now < 2 * 3600, "the clock shows {now}, it is {right}");
    Ok(())
}
