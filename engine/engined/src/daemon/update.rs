//! `docker update` and `docker commit`.

use std::sync::Arc;

use engine_api::host_config::{HostConfig, RestartPolicy};
use engine_image::config::{History, RootFs, now_rfc3339};
use engine_image::{ImageConfig, ImageId, Reference, RunConfig};
use serde::Deserialize;

use super::Daemon;
use super::container::Container;
use super::durable::Survive;
use super::error::{Refusal, Result};
use super::{host, settings, spec};

/// What `POST /containers/{id}/update` may change. Zero and empty leave a setting as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename(deserialize = "container.UpdateConfig"), rename_all = "PascalCase", default)]
pub(crate) struct Update {
    cpu_shares: i64,
    memory: i64,
    nano_cpus: i64,
    cpu_period: i64,
    cpu_quota: i64,
    cpuset_cpus: String,
    cpuset_mems: String,
    memory_reservation: i64,
    memory_swap: i64,
    pids_limit: Option<i64>,
    blkio_weight: u16,
    restart_policy: RestartPolicy,
}

impl Update {
    /// Two ways of saying how much time of a processor, of which one has been used before.
    fn cpu_conflict(&self, host: &HostConfig) -> Option<(&'static str, &'static str)> {
        match () {
            () if host.nano_cpus > 0 && self.cpu_period > 0 => Some(("CPU Period", "NanoCPUs")),
            () if host.nano_cpus > 0 && self.cpu_quota > 0 => Some(("CPU Quota", "NanoCPUs")),
            () if self.nano_cpus > 0 && host.cpu_period > 0 => Some(("Nano CPUs", "CPU Period")),
            () if self.nano_cpus > 0 && host.cpu_quota > 0 => Some(("Nano CPUs", "CPU Quota")),
            () => None,
        }
    }

    /// What a client of before 1.40 says of processes was never read.
    pub(crate) fn without_pids_limit(self) -> Update {
        Update { pids_limit: None, ..self }
    }

    fn apply(&self, host: &mut HostConfig) {
        for (new, old) in [
            (self.cpu_shares, &mut host.cpu_shares),
            (self.memory, &mut host.memory),
            (self.nano_cpus, &mut host.nano_cpus),
            (self.cpu_period, &mut host.cpu_period),
            (self.cpu_quota, &mut host.cpu_quota),
            (self.memory_reservation, &mut host.memory_reservation),
            (self.memory_swap, &mut host.memory_swap),
        ] {
            if new != 0 {
                *old = new;
            }
        }
        for (new, old) in
            [(&self.cpuset_cpus, &mut host.cpuset_cpus), (&self.cpuset_mems, &mut host.cpuset_mems)]
        {
            if !new.is_empty() {
                old.clone_from(new);
            }
        }
        if self.blkio_weight != 0 {
            host.blkio_weight = self.blkio_weight;
        }
        // Nothing and less mean without a limit.
        if let Some(pids) = self.pids_limit {
            host.pids_limit = Some(pids.max(0));
        }
        if !self.restart_policy.name.is_empty() {
            host.restart_policy = self.restart_policy.clone();
        }
    }
}

impl Daemon {
    /// What comes back are warnings.
    pub(crate) async fn update(&self, container: &Container, mut update: Update) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        if update.blkio_weight > 0 && !host::has_blkio_weight() {
            update.blkio_weight = 0;
            warnings.push(super::create::NO_BLKIO_WEIGHT.to_owned());
        }
        let _alive = container.lifecycle.lock().await;
        let wrong = |text: String| Refusal::bad(text);
        let failed =
            |text: String| Refusal::internal(format!("Cannot update container {}: {text}", container.id));
        let conflict =
            |text: &str| Refusal::conflict(format!("Cannot update container {}: {text}", container.id));
        let (mut host, removing) = {
            let record = container.record();
            (record.host.clone(), record.state.removing || record.state.dead)
        };
        if removing {
            return Err(failed("container is marked for removal and cannot be \"update\"".into()));
        }
        if update.memory > 0
            && update.memory_swap == 0
            && host.memory_swap > 0
            && update.memory > host.memory_swap
        {
            return Err(conflict(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            ));
        }
        if let Some((new, old)) = update.cpu_conflict(&host) {
            return Err(conflict(&format!(
                "Conflicting options: {new} cannot be updated as {old} has already been set"
            )));
        }
        if host.auto_remove && !matches!(update.restart_policy.name.as_str(), "" | "no") {
            return Err(failed(
                "Restart policy cannot be updated because AutoRemove is enabled for the container".into(),
            ));
        }
        update.apply(&mut host);
        settings::check_host(&host, host::cpus()).map_err(wrong)?;
        if let Some(program) = container.program() {
            program.update(&spec::resources(&host)?).map_err(|e| failed(super::error::chain(&e)))?;
        }
        container.record().host = host;
        container.save(Survive::PowerCut)?;
        self.tell_container(container, "update");
        Ok(warnings)
    }
}

/// What `POST /commit` asks for.
pub(crate) struct Commit {
    pub(crate) reference: Option<Reference>,
    pub(crate) author: String,
    pub(crate) comment: String,
    pub(crate) pause: bool,
    /// The new image's settings, with changes applied.
    pub(crate) config: RunConfig,
}

impl Daemon {
    pub(crate) async fn commit(
        self: &Arc<Self>,
        container: &Arc<Container>,
        commit: Commit,
    ) -> Result<ImageId> {
        let program = container.program().filter(|_| commit.pause && !container.record().state.paused);
        if let Some(program) = &program {
            // One that ends meanwhile holds still by itself.
            if let Err(error) = program.pause().await
                && program.is_running()
            {
                return Err(error.into());
            }
        }
        let (daemon, own) = (self.clone(), container.clone());
        let done = tokio::task::spawn_blocking(move || daemon.commit_blocking(&own, commit)).await;
        if let Some(program) = &program {
            // It may have ended under the pause, by a kill.
            if let Err(error) = program.unpause().await
                && program.is_running()
            {
                return Err(error.into());
            }
        }
        done.map_err(|e| Refusal::internal(format!("the commit failed: {e}")))?
    }

    fn commit_blocking(&self, container: &Container, commit: Commit) -> Result<ImageId> {
        let record = container.record().clone();
        let writable = self.store.writable(&record.id);
        let writable = writable.ok_or_else(|| Refusal::internal("the container's file system is gone"))?;
        let parent = writable.image.and_then(|id| self.store.image(&id));
        let layer = self.store.commit_writable(&writable)?;
        let layer = Some(layer).filter(|layer| !layer.diff_id().is_of_nothing());
        let mut base = parent.as_ref().map(|p| p.config.clone()).unwrap_or_default();
        base.rootfs.diff_ids.extend(layer.iter().map(|layer| *layer.diff_id()));
        let mut command = vec![record.path.clone()];
        command.extend(record.args.iter().cloned());
        base.history.push(History {
            created: now_rfc3339(),
            created_by: command.join(" "),
            author: commit.author.clone(),
            comment: commit.comment,
            empty_layer: layer.is_none(),
        });
        let config = ImageConfig {
            author: commit.author,
            created: now_rfc3339(),
            container: record.id.clone(),
            container_config: Some(record.config.clone()),
            config: Some(commit.config),
            docker_version: engine_image::DOCKER_VERSION.into(),
            history: base.history,
            rootfs: RootFs { kind: "layers".into(), diff_ids: base.rootfs.diff_ids },
            architecture: if base.architecture.is_empty() {
                crate::version::ARCH.into()
            } else {
                base.architecture
            },
            os: "linux".into(),
            variant: base.variant,
            os_version: base.os_version,
        };
        let image = self.store.create_image(&config, parent.map(|p| p.id))?;
        let shown = commit.reference.as_ref().map(ToString::to_string).unwrap_or_default();
        if let Some(reference) = &commit.reference {
            self.store.tag(&image.id, reference)?;
            let name = super::events::attributes([("name", shown.as_str())]);
            self.events.tell("image", "tag", image.id.to_string(), name);
        }
        let text = image.id.to_string();
        self.tell_container_with(
            container,
            "commit",
            &[("comment", ""), ("imageID", &text), ("imageRef", &shown)],
        );
        Ok(image.id)
    }
}
