//! What interrupted work leaves behind, taken away when the engine starts: shims and namespaces of nobody's,
//! build steps, writable layers.
//!
//! Everything here is named by an id of ours or lies in a folder of ours; what others made is never touched.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine_net::Netns;
use engine_runtime::Adopted;

use super::error::chain;
use super::{Daemon, names};

/// How long a killed stray may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

impl Daemon {
    /// Before the containers are taken over.
    pub(crate) async fn sweep(self: &Arc<Self>) {
        let builds = self.config.data_root.join("build");
        let mut strays = folders(&builds);
        let shims = self.runtime.list().unwrap_or_default();
        strays.extend(shims.into_iter().filter(|id| self.containers.find(id).is_err()));
        for id in strays {
            self.end_stray(&id).await;
            // Only a build step has it.
            let _ = std::fs::remove_dir_all(builds.join(&id));
        }
        for id in self.store.writables() {
            if self.containers.find(&id).is_err() {
                self.store.remove_writable(&id);
            }
        }
    }

    async fn end_stray(&self, id: &str) {
        match self.runtime.adopt(id).await {
            Ok(Adopted::Running(program) | Adopted::Prepared(program)) => {
                tracing::info!(container = %id, "ending a program that belongs to no container");
                // It may end by itself in this moment.
                let _ = program.kill_all();
                let _ = program.signal(None, libc::SIGKILL).await;
                let _ = tokio::time::timeout(PATIENCE, program.wait()).await;
            }
            // What is left of it goes below.
            Ok(Adopted::Exited(_)) | Err(_) => {}
        }
        if let Err(error) = self.runtime.remove(id).await {
            tracing::warn!(container = %id, error = %chain(&error), "could not clean up after a stray program");
        }
    }

    /// After the containers are taken over: what none of them uses.
    pub(crate) async fn sweep_unused(self: &Arc<Self>) {
        let mut used = BTreeSet::new();
        for container in self.containers.all() {
            let running = container.record().state.running;
            if running {
                used.insert(names::short(&container.id).to_owned());
            } else {
                // A start may have been cut off after its cgroup was made.
                self.clean_runtime(&container).await;
            }
        }
        let dir = self.config.exec_root.join("netns");
        for name in folders(&dir).into_iter().filter(|name| !used.contains(name)) {
            if let Err(error) = Netns::remove(&dir.join(&name)) {
                tracing::warn!(namespace = %name, %error, "could not remove an unused network namespace");
            }
        }
    }
}

/// The names in a folder; none when it is not there.
fn folders(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
