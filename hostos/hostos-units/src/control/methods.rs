//! What each request does.

use std::os::fd::RawFd;

use units_api::{Answer, ErrorKind, FileText, InstallRequest, JobRequest, JobState, Method, WireError};

use super::parse_name;
use crate::clock::wall_clock;
use crate::config::general::Relation;
use crate::glob;
use crate::states::{ActiveState, JobKind, LoadState};
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

type Outcome = Result<Option<Answer>, WireError>;

fn ok() -> Outcome {
    Ok(Some(Answer { ok: true, ..Answer::default() }))
}

fn refuse(kind: ErrorKind, message: String) -> WireError {
    WireError { kind, message }
}

impl Supervisor {
    /// Nothing means that the answer comes later.
    pub(super) fn call(&mut self, client: RawFd, id: u64, method: Method) -> Outcome {
        match method {
            Method::Ping => ok(),
            Method::Start(request) => self.call_job(client, id, &request, JobKind::Start),
            Method::Stop(request) => self.call_job(client, id, &request, JobKind::Stop),
            Method::Restart(request) => self.call_job(client, id, &request, JobKind::Restart),
            Method::TryRestart(request) => self.call_job(client, id, &request, JobKind::TryRestart),
            Method::Reload(request) => self.call_job(client, id, &request, JobKind::Reload),
            Method::ReloadOrRestart(request) => self.call_job(client, id, &request, JobKind::ReloadOrStart),
            Method::Kill { units, signal, whom } => self.call_kill(&units, signal, &whom),
            Method::ResetFailed { units } => self.call_reset_failed(&units),
            Method::Submit { unit, text } => self.call_submit(&unit, &text),
            Method::Remove { unit } => self.call_remove(&unit),
            Method::Status { units } => {
                let ids = self.resolve(&units)?;
                let units = ids.into_iter().map(|id| self.describe(id)).collect();
                Ok(Some(Answer { units: Some(units), ..Answer::default() }))
            }
            Method::List => {
                let units = self.matching("*").into_iter().map(|id| self.describe(id)).collect();
                Ok(Some(Answer { units: Some(units), ..Answer::default() }))
            }
            Method::Show { unit } => self.call_show(&unit),
            Method::Cat { unit } => self.call_cat(&unit),
            Method::ListFiles => Ok(Some(Answer {
                unit_files: Some(crate::install::list(&self.options)),
                ..Answer::default()
            })),
            Method::ListJobs => Ok(Some(Answer { jobs: Some(self.job_states()), ..Answer::default() })),
            Method::ListTimers => Ok(Some(Answer { timers: Some(self.timer_states()), ..Answer::default() })),
            Method::Enable(request) => self.call_enable(&request),
            Method::Disable(request) => self.call_install(&request, crate::install::disable),
            Method::Mask(request) => self.call_install(&request, crate::install::mask),
            Method::Unmask(request) => self.call_install(&request, crate::install::unmask),
            Method::DaemonReload => {
                self.daemon_reload();
                ok()
            }
            Method::SetEnvironment { set, unset } => {
                self.environment.extend(set);
                for name in unset {
                    self.environment.remove(&name);
                }
                ok()
            }
            Method::ShowEnvironment => {
                Ok(Some(Answer { properties: Some(self.environment.clone()), ..Answer::default() }))
            }
            Method::Subscribe => {
                if let Some(client) = self.control.clients.get_mut(&client) {
                    client.subscribed = true;
                }
                ok()
            }
            Method::Shutdown { action, reason } => {
                let reason = if reason.is_empty() { "asked through the control socket" } else { &reason };
                self.begin_shutdown(action, reason);
                ok()
            }
        }
    }

    /// Units by name; globs match loaded ones.
    fn resolve(&mut self, names: &[String]) -> Result<Vec<UnitId>, WireError> {
        let mut found = Vec::new();
        for name in names {
            let ids = if glob::is_pattern(name) {
                self.matching(name)
            } else {
                vec![self.load(&parse_name(name)?)]
            };
            found.extend(ids.into_iter().filter(|id| !found.contains(id)).collect::<Vec<_>>());
        }
        Ok(found)
    }

    fn call_job(&mut self, client: RawFd, id: u64, request: &JobRequest, kind: JobKind) -> Outcome {
        if self.shutdown.is_some() && !matches!(kind, JobKind::Stop) {
            return Err(refuse(ErrorKind::ShuttingDown, "the machine is going down".into()));
        }
        let units = self.resolve(&request.units)?;
        let mut jobs = Vec::new();
        let mut states = Vec::new();
        for unit in units {
            self.check_manual(unit, kind)?;
            if kind == JobKind::Stop
                && self.unit(unit).load == LoadState::NotFound
                && self.unit(unit).active.is_down()
            {
                let message = format!("Unit {} not loaded.", self.unit(unit).name);
                return Err(refuse(ErrorKind::NotFound, message));
            }
            // What cannot reload is restarted.
            let kind = match kind {
                JobKind::ReloadOrStart if !self.can_reload(unit) => JobKind::Restart,
                kind => kind,
            };
            if let Some(job) = self.enqueue(unit, kind, request.mode)? {
                jobs.push(job);
                let unit = self.unit(unit).name.to_string();
                states.push(JobState {
                    job: job.0,
                    unit,
                    kind: kind.name().into(),
                    state: "waiting".into(),
                    result: String::new(),
                });
            }
        }
        if request.wait && !jobs.is_empty() {
            self.wait_for(client, id, jobs);
            return Ok(None);
        }
        Ok(Some(Answer { jobs: Some(states), ..Answer::default() }))
    }

    fn check_manual(&self, id: UnitId, kind: JobKind) -> Result<(), WireError> {
        let unit = self.unit(id);
        let refused = match kind {
            JobKind::Stop => unit.config.refuse_manual_stop,
            _ => unit.config.refuse_manual_start,
        };
        if !refused {
            return Ok(());
        }
        let message = format!(
            "Operation refused, unit {} may be requested by dependency only (it is configured to refuse manual start/stop).",
            unit.name
        );
        Err(refuse(ErrorKind::NotApplicable, message))
    }

    fn call_kill(&mut self, names: &[String], signal: i32, whom: &str) -> Outcome {
        for id in self.resolve(names)? {
            let Detail::Service(service) = &self.unit(id).detail else { continue };
            let (main, control) = (service.main_pid, service.control_pid);
            let pids: Vec<i32> = match whom {
                "main" => main.into_iter().collect(),
                "control" => control.into_iter().collect(),
                _ => {
                    let group = self.unit(id).cgroup.as_deref().map(crate::cgroup::processes);
                    group
                        .filter(|pids| !pids.is_empty())
                        .unwrap_or_else(|| main.into_iter().chain(control).collect())
                }
            };
            if pids.is_empty() && whom != "all" {
                let message = format!("No {whom} process to kill for {}", self.unit(id).name);
                return Err(refuse(ErrorKind::NotApplicable, message));
            }
            for pid in pids {
                crate::spawn::kill(pid, signal);
            }
        }
        ok()
    }

    fn call_reset_failed(&mut self, names: &[String]) -> Outcome {
        let ids = if names.is_empty() { self.matching("*") } else { self.resolve(names)? };
        for id in ids {
            let unit = self.unit_mut(id);
            unit.starts.clear();
            unit.start_limit_hit = false;
            let failed = unit.active == ActiveState::Failed;
            if let Detail::Service(service) = &mut unit.detail {
                service.restarts = 0;
                service.result = crate::states::ServiceResult::Success;
                if failed {
                    service.state = crate::states::ServiceState::Dead;
                }
            }
            if failed {
                self.set_state(id, ActiveState::Inactive, "dead");
            }
        }
        ok()
    }

    fn call_submit(&mut self, unit: &str, text: &str) -> Outcome {
        let name = parse_name(unit)?;
        unit_file::UnitFile::parse(text)
            .map_err(|error| refuse(ErrorKind::BadUnit, format!("{name}: {error}")))?;
        let dir = self.options.transient_dir.clone();
        let path = dir.join(name.as_str());
        let temporary = dir.join(format!(".{name}.new"));
        let failed = |error: std::io::Error| {
            refuse(ErrorKind::Io, format!("could not write {}: {error}", path.display()))
        };
        std::fs::create_dir_all(&dir).map_err(failed)?;
        std::fs::write(&temporary, text).map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)?;
        if !name.is_template() {
            self.reload_one(&name);
        }
        ok()
    }

    fn call_remove(&mut self, unit: &str) -> Outcome {
        let name = parse_name(unit)?;
        let path = self.options.transient_dir.join(name.as_str());
        if std::fs::remove_file(&path).is_err() {
            let message = format!("Unit {name} was not submitted here.");
            return Err(refuse(ErrorKind::NotFound, message));
        }
        if let Some(id) = self.names.get(&name).copied().filter(|_| !name.is_template()) {
            self.reload_one(&name);
            self.removed.push(id);
        }
        ok()
    }

    fn call_show(&mut self, unit: &str) -> Outcome {
        if unit.is_empty() {
            let mut properties = std::collections::BTreeMap::new();
            let failed = self.units.iter().filter(|unit| unit.active == ActiveState::Failed).count();
            let state = if self.shutdown.is_some() {
                "stopping"
            } else if !self.jobs.is_empty() && self.busy {
                "starting"
            } else if failed > 0 {
                "degraded"
            } else {
                "running"
            };
            properties.insert("SystemState".to_owned(), state.to_owned());
            properties.insert("NJobs".to_owned(), self.jobs.len().to_string());
            properties.insert("NFailedUnits".to_owned(), failed.to_string());
            properties.insert("NNames".to_owned(), self.units.len().to_string());
            properties.insert("Version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
            properties.insert(
                "Environment".to_owned(),
                self.environment.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "),
            );
            properties.insert("Now".to_owned(), wall_clock().to_string());
            return Ok(Some(Answer { properties: Some(properties), ..Answer::default() }));
        }
        let id = self.load(&parse_name(unit)?);
        Ok(Some(Answer { properties: Some(self.properties(id)), ..Answer::default() }))
    }

    fn call_cat(&mut self, unit: &str) -> Outcome {
        let name = parse_name(unit)?;
        let id = self.load(&name);
        let unit = self.unit(id);
        let mut files = Vec::new();
        for path in unit.fragment.iter().chain(&unit.drop_ins) {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            files.push(FileText { path: path.display().to_string(), text });
        }
        if unit.fragment.is_none() {
            match crate::builtin::text(unit.name.as_str()) {
                Some(text) => files.insert(0, FileText { path: "built-in".into(), text: text.into() }),
                None if files.is_empty() => {
                    return Err(refuse(ErrorKind::NotFound, format!("No files found for {name}.")));
                }
                None => {}
            }
        }
        Ok(Some(Answer { files: Some(files), ..Answer::default() }))
    }

    /// Enabling only adds: what is in memory learns of it without reading everything again.
    fn call_enable(&mut self, request: &InstallRequest) -> Outcome {
        let names = request.units.iter().map(|name| parse_name(name)).collect::<Result<Vec<_>, _>>()?;
        let changes = crate::install::enable(&self.options, &names, request.runtime)?;
        for name in names.iter().filter(|name| !name.is_template()) {
            let id = self.load(name);
            let install = self.unit(id).install.clone();
            for (targets, relation) in
                [(install.wanted_by, Relation::Wants), (install.required_by, Relation::Requires)]
            {
                for target in targets.iter().filter_map(|target| target.parse().ok()) {
                    let target = self.load(&target);
                    self.add_relation(target, relation, name);
                    self.order_targets(target);
                }
            }
            self.reload_one(name);
        }
        Ok(Some(Answer { changes: Some(changes), ..Answer::default() }))
    }

    fn call_install(
        &mut self,
        request: &InstallRequest,
        change: fn(&crate::options::Options, &[unit_file::UnitName], bool) -> Result<Vec<String>, WireError>,
    ) -> Outcome {
        let names = request.units.iter().map(|name| parse_name(name)).collect::<Result<Vec<_>, _>>()?;
        let changes = change(&self.options, &names, request.runtime)?;
        if !changes.is_empty() {
            self.daemon_reload();
        }
        Ok(Some(Answer { changes: Some(changes), ..Answer::default() }))
    }
}
