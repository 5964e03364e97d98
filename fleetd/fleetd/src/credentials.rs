//! The TLS files that the configuration names: waits for those that a join is still to bring, and notices
//! when others take their place, so that nobody has to restart the daemon.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::config::Config;

const LOOK_EACH: Duration = Duration::from_millis(500);

/// When a file was written and how long it is; nothing when it is not there.
type Stamp = Option<(SystemTime, u64)>;

/// What is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Certificate or key.
    Renewed,
    /// The authority: this machine is in another cluster now.
    Authority,
}

/// The files, and how they were when they were last acted upon.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Of authorities, then all others.
    files: [Vec<PathBuf>; 2],
    acted: [Vec<Stamp>; 2],
    authorities: Vec<Option<Vec<u8>>>,
}

impl Credentials {
    pub(crate) fn of(config: &Config) -> Self {
        let named = |at: usize| [&config.tls[at], &config.etcd_tls[at]].into_iter().flatten().cloned();
        let files = [named(0).collect(), named(1).chain(named(2)).collect()];
        let mut credentials = Self { files, acted: [Vec::new(), Vec::new()], authorities: Vec::new() };
        credentials.take_note();
        credentials
    }

    /// Returns when all files are there.
    pub(crate) async fn complete(&mut self) {
        let mut told = false;
        while let Some(missing) = self.files.iter().flatten().find(|file| !file.exists()) {
            if !told {
                tracing::warn!(
                    file = %missing.display(),
                    "not a member yet; waiting for the certificates that `fleetctl join` brings"
                );
                told = true;
            }
            tokio::time::sleep(LOOK_EACH).await;
        }
        self.take_note();
    }

    /// Returns when other files took the place of those that were there, and are no longer being written.
    /// Files that vanish are no news: what they said goes on to hold. Cancel safe.
    pub(crate) async fn changed(&mut self) -> Change {
        let mut before = self.stamps();
        loop {
            tokio::time::sleep(LOOK_EACH).await;
            let now = self.stamps();
            let is_whole = now.iter().flatten().all(Option::is_some);
            if is_whole && now != self.acted && now == before {
                let authorities = self.authorities();
                let change =
                    if authorities == self.authorities { Change::Renewed } else { Change::Authority };
                self.take_note();
                return change;
            }
            before = now;
        }
    }

    fn take_note(&mut self) {
        self.acted = self.stamps();
        self.authorities = self.authorities();
    }

    fn stamps(&self) -> [Vec<Stamp>; 2] {
        let stamp = |file: &PathBuf| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        [0, 1].map(|at| self.files[at].iter().map(stamp).collect())
    }

    fn authorities(&self) -> Vec<Option<Vec<u8>>> {
        self.files[0].iter().map(|file| std::fs::read(file).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_waited_for_and_their_change_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = |name: &str| dir.path().join(name);
        let tls = ["ca.pem", "cert.pem", "key.pem"].map(|name| Some(file(name)));
        let mut credentials = Credentials::of(&Config { tls, ..Config::default() });
        std::fs::write(file("ca.pem"), "1").expect("writes");
        std::fs::write(file("cert.pem"), "1").expect("writes");
        let waits = tokio::time::timeout(LOOK_EACH * 2, credentials.complete()).await;
        assert!(waits.is_err(), "the key is not there yet");
        std::fs::write(file("key.pem"), "1").expect("writes");
        credentials.complete().await;
        std::fs::write(file("cert.pem"), "another").expect("writes");
        assert_eq!(credentials.changed().await, Change::Renewed);
        std::fs::remove_file(file("key.pem")).expect("removes");
        let silent = tokio::time::timeout(LOOK_EACH * 4, credentials.changed()).await;
        assert!(silent.is_err(), "what vanished is no news");
        std::fs::write(file("ca.pem"), "another").expect("writes");
        std::fs::write(file("key.pem"), "another").expect("writes");
        assert_eq!(credentials.changed().await, Change::Authority);
    }
}
