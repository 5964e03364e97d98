//! Removing containers.

use std::sync::Arc;

use super::Daemon;
use super::container::Container;
use super::error::{Refusal, Result};
use super::names;

impl Daemon {
    pub(crate) async fn remove(
        self: &Arc<Self>,
        container: &Arc<Container>,
        force: bool,
        volumes: bool,
    ) -> Result<()> {
        let (daemon, container) = (self.clone(), container.clone());
        let removed = tokio::spawn(async move { daemon.remove_inner(&container, force, volumes).await });
        removed.await.map_err(|e| Refusal::internal(format!("removing the container failed: {e}")))?
    }

    async fn remove_inner(
        self: &Arc<Self>,
        container: &Arc<Container>,
        force: bool,
        volumes: bool,
    ) -> Result<()> {
        {
            let mut record = container.record();
            if record.state.removing {
                return Err(Refusal::conflict(format!(
                    "removal of container {} is already in progress",
                    record.name
                )));
            }
            if record.state.running && !force {
                return Err(Refusal::conflict(refuse_running(&record)));
            }
            record.state.removing = true;
        }
        let killed = self.end_for_removal(container).await;
        let _alive = container.lifecycle.lock().await;
        let done = match killed {
            Ok(()) => self.erase(container, volumes).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &done {
            container.record().state.removing = false;
            container.phase.send_modify(|p| p.removal_error = Some(refusal.message.clone()));
        }
        done
    }

    async fn end_for_removal(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        if !container.record().state.running {
            return Ok(());
        }
        match self.kill(container, &container.id, "KILL").await {
            Ok(()) => {}
            // It ended by itself.
            Err(_) if !container.record().state.is_alive() => {}
            Err(refusal) => return Err(refusal),
        }
        self.settled(container).await;
        Ok(())
    }

    async fn erase(self: &Arc<Self>, container: &Arc<Container>, volumes: bool) -> Result<()> {
        self.release_sandbox(container).await;
        self.forget_endpoints(container);
        let (daemon, gone) = (self.clone(), container.clone());
        let erased = tokio::task::spawn_blocking(move || {
            let dir = daemon.container_dir(&gone.id);
            // First what makes it a container: a crash from here on leaves only waste, which is swept at start.
            let description = dir.join("container.json");
            std::fs::remove_file(&description).or_else(ignore_missing)?;
            daemon.store.remove_writable(&gone.id);
            std::fs::remove_dir_all(&dir).or_else(ignore_missing)?;
            if volumes {
                daemon.remove_anonymous(&gone);
            }
            Ok::<(), Refusal>(())
        });
        erased.await.map_err(|e| Refusal::internal(format!("removing the container failed: {e}")))??;
        self.containers.remove(container);
        self.forget_execs(container);
        self.tell_container(container, "destroy");
        container.phase.send_modify(|p| {
            p.running = false;
            p.removed = true;
        });
        Ok(())
    }

    /// The volumes nobody named and nobody else uses.
    fn remove_anonymous(&self, container: &Container) {
        let mounts = container.record().mounts.clone();
        for mount in mounts.iter().filter(|m| m.kind == "volume" && m.anonymous) {
            if self.users_of_volume(&mount.name).iter().any(|id| *id != container.id) {
                continue;
            }
            match self.volumes.remove(&mount.name) {
                Ok(()) => self.tell_volume_destroyed(&mount.name),
                Err(error) => tracing::warn!(volume = %mount.name, %error, "could not remove the volume"),
            }
        }
    }

    pub(crate) fn tell_volume_destroyed(&self, name: &str) {
        self.events.tell("volume", "destroy", name, super::events::attributes([("driver", "local")]));
    }

    /// Ids of the containers that mount a volume.
    pub(crate) fn users_of_volume(&self, name: &str) -> Vec<String> {
        let uses =
            |c: &Arc<Container>| c.record().mounts.iter().any(|m| m.kind == "volume" && m.name == name);
        self.containers.all().into_iter().filter(uses).map(|c| c.id.clone()).collect()
    }

    /// For `--rm`, on a task of its own.
    pub(crate) fn remove_later(self: &Arc<Self>, container: Arc<Container>) {
        let daemon = self.clone();
        tokio::spawn(async move {
            container.before_removal().await;
            if let Err(error) = daemon.remove_inner(&container, true, true).await {
                tracing::debug!(container = %container.id, %error, "automatic removal");
            }
        });
    }
}

fn refuse_running(record: &super::container::Record) -> String {
    match record.state.paused {
        true => format!(
            "You cannot remove a paused container {}. Unpause and then stop the container before attempting removal or force remove",
            record.id
        ),
        false => format!(
            "You cannot remove a {} container {}. Stop the container before attempting removal or force remove",
            record.state.status(),
            record.id
        ),
    }
}

fn ignore_missing(error: std::io::Error) -> Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error.into()) }
}

impl Daemon {
    pub(crate) async fn rename(&self, container: &Arc<Container>, name: &str) -> Result<()> {
        let name = name.strip_prefix('/').unwrap_or(name);
        if name.is_empty() {
            return Err(Refusal::bad("Neither old nor new names may be empty"));
        }
        if !names::is_valid(name) {
            return Err(Refusal::bad(format!(
                "Error when allocating new name: Invalid container name (/{name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )));
        }
        let _alive = container.lifecycle.lock().await;
        let old = container.name();
        if old == name {
            return Err(Refusal::bad("Renaming a container with the same name as its current name"));
        }
        self.containers.reserve(name, &container.id).map_err(|taken| Refusal {
            message: format!("Error when allocating new name: {}", taken.message),
            ..taken
        })?;
        container.record().name = name.to_owned();
        if let Err(error) = container.save(super::durable::Survive::PowerCut) {
            container.record().name.clone_from(&old);
            self.containers.release(name);
            return Err(error.into());
        }
        self.containers.release(&old);
        self.renamed_in_networks(container);
        self.tell_container_with(container, "rename", &[("oldName", &format!("/{old}"))]);
        Ok(())
    }
}
