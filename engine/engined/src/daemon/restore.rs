//! Taking over what an earlier engine left: containers that ran on, and containers that ended meanwhile.

use std::sync::Arc;

use anyhow::Context;
use engine_runtime::{Adopted, Exit};

use super::Daemon;
use super::container::{Container, Record};
use super::durable::{self, Survive};
use super::error::chain;

impl Daemon {
    pub(crate) async fn restore(self: &Arc<Self>) -> anyhow::Result<()> {
        self.read_containers()?;
        self.sweep().await;
        for container in self.containers.all() {
            self.take_over(&container).await;
        }
        self.sweep_unused().await;
        for container in self.containers.all() {
            self.start_again(&container).await;
        }
        Ok(())
    }

    fn read_containers(&self) -> anyhow::Result<()> {
        let dir = self.config.data_root.join("containers");
        for entry in std::fs::read_dir(&dir).with_context(|| format!("could not list {}", dir.display()))? {
            let path = entry?.path();
            match durable::read::<Record>(&path.join("container.json")) {
                Ok(Some(record)) => {
                    if let Err(error) = self.containers.reserve(&record.name, &record.id) {
                        tracing::error!(container = %record.id, %error, "two containers have one name");
                    }
                    self.containers.insert(Arc::new(Container::new(path, record)));
                }
                // A creation that was never answered, or a removal that was.
                Ok(None) => std::fs::remove_dir_all(&path)?,
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "unreadable container is left alone")
                }
            }
        }
        Ok(())
    }

    async fn take_over(self: &Arc<Self>, container: &Arc<Container>) {
        let known = self.runtime.list().unwrap_or_default().contains(&container.id);
        if !known {
            if container.record().state.running {
                self.ended_unseen(container, None).await;
            }
            return;
        }
        match self.runtime.adopt(&container.id).await {
            Ok(Adopted::Running(program)) => self.adopt_running(container, program).await,
            Ok(Adopted::Prepared(program)) => {
                // Its start was never answered.
                let _ = program.abandon().await;
                program.wait().await;
                self.ended_unseen(container, None).await;
            }
            Ok(Adopted::Exited(exit)) => self.ended_unseen(container, Some(exit)).await,
            Err(error) => {
                tracing::error!(container = %container.id, error = %chain(&error), "could not take the container over");
                self.ended_unseen(container, None).await;
            }
        }
    }

    async fn adopt_running(self: &Arc<Self>, container: &Arc<Container>, program: engine_runtime::Container) {
        {
            let mut record = container.record();
            record.state.running = true;
            record.state.restarting = false;
            let known = record.state.pid == program.pid() && record.state.started_at != 0;
            record.state.pid = program.pid();
            // The end of a start may have been lost; else the time that was told stays.
            if let Some(started) = self.runtime.started(&container.id).filter(|_| !known) {
                record.state.started_at = started.started_at;
            }
        }
        *container.program.lock().expect("no code panics holding it") = Some(program.clone());
        container.phase.send_modify(|p| p.running = true);
        if let Err(error) = self.adopt_sandbox(container).await {
            tracing::error!(container = %container.id, %error, "could not take over the container's network");
        }
        container.save_or_warn(Survive::Crash);
        self.resume_health(container);
        self.watch(container.clone(), program);
        tracing::info!(container = %container.id, "took over a running container");
    }

    /// It ended while no engine was there.
    async fn ended_unseen(self: &Arc<Self>, container: &Arc<Container>, exit: Option<Exit>) {
        {
            let mut record = container.record();
            let state = &mut record.state;
            if state.running || exit.is_some() {
                let exit =
                    exit.unwrap_or(Exit { code: 137, finished_at: crate::clock::now(), ..Exit::default() });
                state.exit_code = exit.code;
                state.oom_killed = exit.oom_killed;
                state.finished_at = exit.finished_at;
            }
            state.running = false;
            state.paused = false;
            state.restarting = false;
            state.pid = 0;
        }
        let code = container.record().state.exit_code;
        container.phase.send_modify(|p| {
            p.running = false;
            p.exit_code = code;
        });
        self.release_sandbox(container).await;
        self.clean_runtime(container).await;
        container.save_or_warn(Survive::Crash);
    }

    /// What a restart policy wants up, and what `--rm` wants gone.
    async fn start_again(self: &Arc<Self>, container: &Arc<Container>) {
        let (wanted, gone) = {
            let record = container.record();
            let down = !record.state.running;
            let wanted = match record.host.restart_policy.name.as_str() {
                "always" => record.state.started_at != 0,
                "unless-stopped" => record.state.started_at != 0 && !record.stopped_by_user,
                "on-failure" => {
                    record.state.exit_code != 0 && record.state.started_at != 0 && !record.stopped_by_user
                }
                _ => false,
            };
            (wanted && down, down && record.host.auto_remove && record.state.started_at != 0)
        };
        if gone {
            self.remove_later(container.clone());
        } else if wanted && let Err(error) = self.start(container).await {
            tracing::error!(container = %container.id, %error, "could not start the container again");
        }
    }
}
