//! What becomes of a config that cannot be obeyed: the words on the workstation and on the console.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{Plain, Workstation};

/// Longer than any refusal may take, on a busy computer too; alone it takes some 6 s.
const LIMIT: Duration = Duration::from_secs(60);

/// A config that was refused.
#[derive(Debug)]
pub struct Refusal {
    /// What `rmachine create` said, on standard error.
    pub create: String,
    /// What the console of a machine with that config said: the sentence of its failure.
    pub console: String,
}

/// The text of `configs/bad/NAME.ign` of this crate.
///
/// # Errors
/// There is none.
pub fn bad_config(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("configs/bad/{name}.ign"));
    std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))
}

/// Gives a config to `rmachine create`, and to a machine if `create` refuses it without one.
///
/// # Errors
/// It is not refused, not in time, or something is left behind.
pub fn refusal(name: &str, config: &str) -> Result<Refusal> {
    let here = Workstation::new()?;
    let file = here.store().join(format!("{name}.ign"));
    std::fs::write(&file, config)?;
    let ran =
        here.try_rmachine(&["create", "-d", "qemu", "--ignition", &file.to_string_lossy(), "worker1"])?;
    ensure!(ran.code.is_some_and(|code| code != 0), "{name} is not refused: {ran:?}");
    ensure!(ran.took < LIMIT, "refusing {name} took {:?}", ran.took);
    ensure!(here.rmachine(&["ls", "-q"])?.is_empty(), "a machine with {name} is left");
    ensure!(!here.machine_dir("worker1").exists(), "files of a machine with {name} are left");
    let kept = here.store().join("failed/worker1.serial.log");
    let console = match std::fs::read(&kept) {
        Ok(log) => sentence(&String::from_utf8_lossy(&log).replace('\r', ""))?,
        // It was refused before there was a machine.
        Err(_) => Plain::new()?.config(config)?.start()?.failure()?,
    };
    Ok(Refusal { create: ran.stderr, console })
}

fn sentence(console: &str) -> Result<String> {
    let said = console.lines().find_map(|line| line.split_once("rmachine: failed: "));
    Ok(said.with_context(|| format!("no reason on the console:\n{console}"))?.1.to_owned())
}
