//! A machine to measure, made by `rmachine` as a user makes one, in a store of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use hostos_api::{Report, Stage};

use crate::{cargo, image};

const NAME: &str = "bench";

/// Dropping it removes the machine.
pub(super) struct Guest {
    dir: PathBuf,
}

impl Guest {
    /// Makes one whose units are all enabled that `units` names. `flags` go to `rmachine create`.
    pub(super) fn create(purpose: &str, units: &[&str], flags: &[&str]) -> Result<Self> {
        let dir = cargo::target_dir().join("bench").join(purpose);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).with_context(|| format!("could not make {}", dir.display()))?;
        let guest = Self { dir };
        let config = guest.dir.join("config.ign");
        std::fs::write(&config, ignition(units)).context("could not write a config")?;
        let config = config.to_string_lossy();
        let words = ["create", "-d", "qemu", "--qemu-accel", "tcg", "--ignition", &config];
        guest.rmachine(&[&words, flags, &[NAME]].concat())?;
        Ok(guest)
    }

    /// What a command on the machine printed, as root.
    pub(super) fn ssh(&self, command: &str) -> Result<String> {
        let port = self.rmachine(&["inspect", "--format", "{{.Driver.SSHPort}}", NAME])?;
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(self.dir.join("store/machines").join(NAME).join("id_ed25519"));
        for option in ["BatchMode=yes", "IdentitiesOnly=yes", "LogLevel=ERROR", "ConnectTimeout=20"] {
            ssh.args(["-o", option]);
        }
        ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-F", "none"]);
        cargo::output(ssh.args(["-p", port.trim(), "root@127.0.0.1", command]))
    }

    /// The guest's own time at each stage, and when it was ready.
    pub(super) fn stages(&self) -> Result<(Vec<(Stage, Duration)>, Duration)> {
        let text = self.rmachine(&["logs", "--log", "stages", NAME])?;
        let (mut stages, mut ready) = (Vec::new(), None);
        for line in text.lines() {
            match Report::from_line(line) {
                Some(Report::Stage { stage, uptime_ms, .. }) => {
                    stages.push((stage, Duration::from_millis(uptime_ms)));
                }
                Some(Report::Ready { uptime_ms, .. }) => ready = Some(Duration::from_millis(uptime_ms)),
                _ => {}
            }
        }
        Ok((stages, ready.context("the machine did not say that it is ready")?))
    }

    /// A file that lies beside the machine's store.
    pub(super) fn script(purpose: &str, text: &str) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let path = cargo::target_dir().join("bench").join(format!("{purpose}.sh"));
        std::fs::create_dir_all(path.parent().expect("it was joined"))?;
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    fn rmachine(&self, words: &[&str]) -> Result<String> {
        cargo::output(Command::new(image::rmachine()).arg("-s").arg(self.dir.join("store")).args(words))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.rmachine(&["rm", "-f", NAME]) {
            eprintln!("{NAME} could not be removed: {error:#}");
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn ignition(units: &[&str]) -> String {
    let enabled: Vec<_> =
        units.iter().map(|name| serde_json::json!({ "name": name, "enabled": true })).collect();
    serde_json::json!({ "ignition": { "version": "3.3.0" }, "systemd": { "units": enabled } }).to_string()
}
