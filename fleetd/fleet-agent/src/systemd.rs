//! systemd, for machines that are not ours. `systemctl` speaks to it: over D-Bus, or over its private
//! socket where no bus runs, and it is there wherever systemd is.
//!
//! Unit files lie in fleet's units directory and are linked into systemd for as long as the machine is
//! up, as fleet does. Nothing outside that directory is written by this program itself.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fleet_unit::UnitName;
use tokio::process::Command;

use crate::{ManagerError, UnitManager, UnitStatus};

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A unit may take its `TimeoutStopSec` to stop; 90 s is its default.
const STOP_LIMIT: Duration = Duration::from_secs(100);
/// How often it is looked whether a unit changed.
const LOOK_EACH: Duration = Duration::from_secs(1);
const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState";

/// systemd of the machine or of a user.
pub struct SystemdManager {
    directory: PathBuf,
    words: Vec<String>,
    last_seen: Option<String>,
}

impl SystemdManager {
    /// With unit files in this directory; `user`: the instance of the user that this program runs as.
    #[must_use]
    pub fn new(directory: &Path, user: bool) -> Self {
        let mut words = vec!["systemctl".to_owned(), "--no-ask-password".to_owned(), "--quiet".to_owned()];
        words.extend(user.then(|| "--user".to_owned()));
        Self { directory: directory.to_owned(), words, last_seen: None }
    }

    /// The same behind other words: how a systemd in a namespace is reached.
    #[must_use]
    pub fn behind(mut self, words: &[String]) -> Self {
        self.words.splice(0..0, words.iter().cloned());
        self
    }

    fn path(&self, name: &UnitName) -> PathBuf {
        self.directory.join(name.as_str())
    }

    async fn ask(&self, words: &[&str], limit: Duration) -> Result<String, ManagerError> {
        let what = || format!("systemctl {}", words.join(" "));
        let at = || self.words.join(" ");
        let asked = Command::new(&self.words[0])
            .args(&self.words[1..])
            .args(words)
            .env("SYSTEMD_COLORS", "0")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(limit, asked)
            .await
            .map_err(|_| ManagerError::Timeout { what: what() })?
            .map_err(|source| ManagerError::Unreachable { at: at(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // It says so when there is no systemd to speak to; everything else is systemd's own word.
        if said.contains("Failed to connect to bus") || said.contains("not been booted with systemd") {
            return Err(ManagerError::Unreachable { at: at(), source: std::io::Error::other(said) });
        }
        let reason = if said.is_empty() { output.status.to_string() } else { said };
        Err(ManagerError::Refused(format!("{}: {reason}", what())))
    }

    async fn show(&self, names: &[String]) -> Result<String, ManagerError> {
        let mut words = vec!["show", PROPERTIES, "--"];
        words.extend(names.iter().map(String::as_str));
        self.ask(&words, ANSWER_LIMIT).await
    }

    /// The units whose files are in the directory.
    fn own(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.parse::<UnitName>().is_ok())
            .collect();
        names.sort();
        names
    }
}

impl UnitManager for SystemdManager {
    async fn load(&mut self, name: &UnitName, text: &str) -> Result<(), ManagerError> {
        let path = self.path(name);
        let written = std::fs::create_dir_all(&self.directory).and_then(|()| std::fs::write(&path, text));
        written
            .map_err(|error| ManagerError::Refused(format!("could not write {}: {error}", path.display())))?;
        let path = path.to_string_lossy();
        self.ask(&["--runtime", "link", &path], ANSWER_LIMIT).await?;
        self.ask(&["daemon-reload"], ANSWER_LIMIT).await?;
        if text.lines().any(|line| line.trim() == "[Install]") {
            self.ask(&["--runtime", "enable", "--", name.as_str()], ANSWER_LIMIT).await?;
        }
        Ok(())
    }

    async fn unload(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        match self.ask(&["stop", "--", name.as_str()], STOP_LIMIT).await {
            Ok(_) | Err(ManagerError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        for words in [&["--runtime", "disable", "--"][..], &["reset-failed", "--"]] {
            match self.ask(&[words, &[name.as_str()]].concat(), ANSWER_LIMIT).await {
                // It was not linked, or has not failed.
                Ok(_) | Err(ManagerError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let _ = std::fs::remove_file(self.path(name));
        self.ask(&["daemon-reload"], ANSWER_LIMIT).await.map(drop)
    }

    async fn start(&mut self, name: &UnitName, _fence: i64) -> Result<(), ManagerError> {
        self.ask(&["--no-block", "start", "--", name.as_str()], ANSWER_LIMIT).await.map(drop)
    }

    async fn stop(&mut self, name: &UnitName) -> Result<(), ManagerError> {
        self.ask(&["--no-block", "stop", "--", name.as_str()], ANSWER_LIMIT).await.map(drop)
    }

    async fn states(&mut self, names: &[UnitName]) -> Result<Vec<UnitStatus>, ManagerError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let words: Vec<String> = names.iter().map(UnitName::to_string).collect();
        let states = statuses(&self.show(&words).await?);
        if states.len() == names.len() {
            return Ok(states);
        }
        Err(ManagerError::Protocol(format!("{} states of {} units", states.len(), names.len())))
    }

    async fn changed(&mut self) -> Result<(), ManagerError> {
        loop {
            tokio::time::sleep(LOOK_EACH).await;
            let own = self.own();
            let seen = if own.is_empty() { String::new() } else { self.show(&own).await? };
            if self.last_seen.as_ref() != Some(&seen) {
                self.last_seen = Some(seen);
                return Ok(());
            }
        }
    }
}

/// One block of `Key=value` lines for each unit, in the order they were named.
fn statuses(shown: &str) -> Vec<UnitStatus> {
    let blocks = shown.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            let get = |key: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
                line.unwrap_or_default().to_owned()
            };
            UnitStatus { load: get("LoadState"), active: get("ActiveState"), sub: get("SubState") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_in_blocks() {
        let shown = "LoadState=loaded\nActiveState=active\nSubState=running\n\n\
                     LoadState=not-found\nActiveState=inactive\nSubState=dead\n";
        let [one, two] = statuses(shown).try_into().expect("two");
        let is = |load: &str, active: &str, sub: &str| UnitStatus {
            load: load.into(),
            active: active.into(),
            sub: sub.into(),
        };
        assert_eq!(one, is("loaded", "active", "running"));
        assert_eq!(two, is("not-found", "inactive", "dead"));
    }
}
