//! Queued jobs: which may run, how they run, what follows from their end.

use units_api::{ErrorKind, JobMode, JobState, WireError};

use crate::clock::Moment;
use crate::config::general::Relation;
use crate::event::Event;
use crate::states::{ActiveState, JobKind, JobResult, LoadState};
use crate::supervisor::Supervisor;
use crate::transaction::{Transaction, merge_kinds};
use crate::unit::{Detail, UnitId};

/// Number of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(pub(crate) u32);

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) unit: UnitId,
    pub(crate) kind: JobKind,
    pub(crate) running: bool,
}

/// Why a unit did not start at once.
pub(crate) enum StartError {
    /// It already is what the job wants.
    Already,
    /// Not now; the job waits.
    Wait,
    /// The job ends so.
    Ends(JobResult),
}

impl Supervisor {
    /// Queues what is needed for a wish; returns the job of the unit itself.
    pub(crate) fn enqueue(
        &mut self,
        id: UnitId,
        kind: JobKind,
        mode: JobMode,
    ) -> Result<Option<JobId>, WireError> {
        if kind == JobKind::Reload && !self.can_reload(id) {
            let message = format!("Job type reload is not applicable for unit {}.", self.unit(id).name);
            return Err(WireError { kind: ErrorKind::NotApplicable, message });
        }
        let plan = Transaction::plan(&self.units, id, kind, mode)?;
        let (jobs, notes) = (plan.jobs(), plan.notes);
        if mode == JobMode::Fail {
            self.check_contradictions(&jobs)?;
        }
        for note in notes {
            self.log_unit(id, 4, &note);
        }
        for (unit, kind) in &jobs {
            self.install(*unit, *kind);
        }
        Ok(self.unit(id).job)
    }

    fn check_contradictions(&self, jobs: &[(UnitId, JobKind)]) -> Result<(), WireError> {
        for (id, kind) in jobs {
            let queued = self.unit(*id).job.and_then(|job| self.jobs.get(&job));
            if queued.is_some_and(|job| merge_kinds(job.kind, *kind).is_none()) {
                let message = format!(
                    "Transaction for {} is destructive: it has a job queued that contradicts.",
                    self.unit(*id).name
                );
                return Err(WireError { kind: ErrorKind::Conflict, message });
            }
        }
        Ok(())
    }

    pub(crate) fn can_reload(&self, id: UnitId) -> bool {
        match &self.unit(id).detail {
            Detail::Service(service) => service.can_reload(),
            _ => false,
        }
    }

    fn install(&mut self, id: UnitId, kind: JobKind) -> JobId {
        if let Some(old) = self.unit(id).job {
            let (old_kind, running) =
                self.jobs.get(&old).map_or((kind, false), |job| (job.kind, job.running));
            match merge_kinds(old_kind, kind) {
                // A running start that is asked for again just goes on.
                Some(merged) if !running || merged == old_kind => {
                    if let Some(job) = self.jobs.get_mut(&old) {
                        job.kind = merged;
                    }
                    self.run_queue.push_back(old);
                    return old;
                }
                _ => self.finish_job(old, JobResult::Canceled, false),
            }
        }
        self.last_job += 1;
        let job = JobId(self.last_job);
        self.jobs.insert(job, Job { unit: id, kind, running: false });
        self.unit_mut(id).job = Some(job);
        self.run_queue.push_back(job);
        self.busy = true;
        if let Some(limit) = self.unit(id).config.job_timeout {
            self.deadlines.set(job.into(), Moment::now().after(limit));
        }
        job
    }

    pub(crate) fn run_jobs(&mut self) {
        while let Some(id) = self.run_queue.pop_front() {
            let Some(job) = self.jobs.get(&id).cloned() else { continue };
            if !job.running && self.is_runnable(&job) {
                self.run_job(id, &job);
            }
        }
        if self.busy && self.jobs.is_empty() {
            self.busy = false;
            self.start_idle_services();
            self.emit(&Event::Idle);
        }
    }

    /// Has everything it is ordered behind been done?
    fn is_runnable(&self, job: &Job) -> bool {
        let unit = self.unit(job.unit);
        let kind_of =
            |other: UnitId| self.unit(other).job.and_then(|job| self.jobs.get(&job)).map(|job| job.kind);
        let stops = |kind: JobKind| matches!(kind, JobKind::Stop | JobKind::Restart);
        // Stops go before starts; of two stops, the later started one goes first.
        let waits_for_earlier = |other| kind_of(other).is_some_and(|_| !stops(job.kind));
        let waits_for_later = |other| kind_of(other).is_some_and(stops);
        !unit.related(Relation::After).any(waits_for_earlier)
            && !unit.related(Relation::Before).any(waits_for_later)
    }

    fn run_job(&mut self, id: JobId, job: &Job) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.running = true;
        }
        let outcome = match job.kind {
            JobKind::Start => self.start_unit(job.unit),
            JobKind::VerifyActive => match self.unit(job.unit).active {
                active if active.is_active() => Err(StartError::Already),
                ActiveState::Activating => Err(StartError::Wait),
                _ => Err(StartError::Ends(JobResult::Skipped)),
            },
            JobKind::Stop | JobKind::Restart | JobKind::TryRestart => self.stop_unit(job.unit),
            JobKind::Reload | JobKind::ReloadOrStart => self.reload_unit(job.unit),
        };
        // The job may have ended by what it did.
        if !self.jobs.contains_key(&id) {
            return;
        }
        match outcome {
            Ok(()) => {}
            Err(StartError::Already) => self.finish_job(id, JobResult::Done, true),
            Err(StartError::Wait) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.running = false;
                }
            }
            Err(StartError::Ends(result)) => self.finish_job(id, result, true),
        }
    }

    pub(crate) fn finish_job(&mut self, id: JobId, result: JobResult, recurse: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (unit, kind) = (job.unit, job.kind);
        if result == JobResult::Done && matches!(kind, JobKind::Restart | JobKind::TryRestart) {
            // Stopped; now the other half.
            (job.kind, job.running) = (JobKind::Start, false);
            self.run_queue.push_back(id);
            self.wake_neighbours(unit);
            return;
        }
        self.jobs.remove(&id);
        self.deadlines.clear(id.into());
        self.unit_mut(unit).job = None;
        self.report_job(id, unit, kind, result);
        if result != JobResult::Done && recurse {
            self.fail_dependents(unit, kind);
        }
        if matches!(result, JobResult::Timeout | JobResult::Dependency) && kind == JobKind::Start {
            self.trigger(unit, Relation::OnFailure);
        }
        self.wake_neighbours(unit);
    }

    fn report_job(&mut self, id: JobId, unit: UnitId, kind: JobKind, result: JobResult) {
        let name = self.unit(unit).name.to_string();
        let description = self.unit(unit).description().to_owned();
        let message = match (kind, result) {
            (JobKind::Start, JobResult::Done) if self.unit(unit).condition_result == Some(false) => None,
            (JobKind::Start, JobResult::Done) => Some((6, format!("Started {description}."))),
            (JobKind::Start, JobResult::Failed) => Some((3, format!("Failed to start {description}."))),
            (JobKind::Start, JobResult::Dependency) => {
                Some((4, format!("Dependency failed for {description}.")))
            }
            (JobKind::Start, JobResult::Timeout) => Some((3, format!("Timed out starting {description}."))),
            (JobKind::Start, JobResult::Assert) => {
                Some((4, format!("Starting {description} not possible, as asserts failed.")))
            }
            (JobKind::Stop, JobResult::Done) => Some((6, format!("Stopped {description}."))),
            (JobKind::Reload, JobResult::Failed) => Some((3, format!("Reload failed for {description}."))),
            (JobKind::Reload, JobResult::Done) => Some((6, format!("Reloaded {description}."))),
            _ => None,
        };
        if let Some((level, message)) = message {
            self.log_unit(unit, level, &message);
        }
        self.answer_waiters(
            id,
            &JobState {
                job: id.0,
                unit: name.clone(),
                kind: kind.name().into(),
                state: String::new(),
                result: result.name().into(),
            },
        );
        self.emit(&Event::JobEnded { unit: name, kind: kind.name(), result: result.name() });
    }

    /// Jobs of units that cannot do without this one end too.
    fn fail_dependents(&mut self, unit: UnitId, kind: JobKind) {
        let relations: &[Relation] = match kind {
            JobKind::Start | JobKind::VerifyActive => {
                &[Relation::RequiredBy, Relation::RequisiteOf, Relation::BoundBy]
            }
            JobKind::Stop => &[Relation::ConflictedBy],
            _ => return,
        };
        let others: Vec<_> =
            relations.iter().flat_map(|relation| self.unit(unit).related(*relation)).collect();
        for other in others {
            let job = self.unit(other).job;
            let starts = |job| {
                self.jobs
                    .get(&job)
                    .is_some_and(|job| matches!(job.kind, JobKind::Start | JobKind::VerifyActive))
            };
            if let Some(job) = job.filter(|job| starts(*job)) {
                self.finish_job(job, JobResult::Dependency, true);
            }
        }
    }

    /// Looks again at jobs that may have waited for this unit.
    pub(crate) fn wake_neighbours(&mut self, id: UnitId) {
        let unit = self.unit(id);
        let neighbours = unit.related(Relation::After).chain(unit.related(Relation::Before)).chain([id]);
        let jobs: Vec<_> = neighbours.filter_map(|other| self.unit(other).job).collect();
        self.run_queue.extend(jobs);
    }

    pub(crate) fn job_timed_out(&mut self, id: JobId) {
        self.finish_job(id, JobResult::Timeout, true);
    }

    /// What a change of state means for the unit's job; true if no job asked for it.
    pub(crate) fn advance_job(&mut self, id: UnitId, new: ActiveState, reload_failed: bool) -> bool {
        let Some((job_id, job)) = self.unit(id).job.and_then(|job| Some((job, self.jobs.get(&job)?.clone())))
        else {
            return true;
        };
        match job.kind {
            JobKind::Start | JobKind::VerifyActive => {
                if new.is_active() {
                    self.finish_job(job_id, JobResult::Done, true);
                } else if job.running && new != ActiveState::Activating {
                    if new.is_down() {
                        let result =
                            if new == ActiveState::Failed { JobResult::Failed } else { JobResult::Done };
                        self.finish_job(job_id, result, true);
                    }
                    return true;
                }
            }
            JobKind::Reload | JobKind::ReloadOrStart => {
                if job.running && new == ActiveState::Active {
                    let result = if reload_failed { JobResult::Failed } else { JobResult::Done };
                    self.finish_job(job_id, result, true);
                } else if job.running && !matches!(new, ActiveState::Activating | ActiveState::Reloading) {
                    if new.is_down() {
                        let result =
                            if new == ActiveState::Failed { JobResult::Failed } else { JobResult::Done };
                        self.finish_job(job_id, result, true);
                    }
                    return true;
                }
            }
            JobKind::Stop | JobKind::Restart | JobKind::TryRestart => {
                if new.is_down() {
                    self.finish_job(job_id, JobResult::Done, true);
                } else if job.running && new != ActiveState::Deactivating {
                    self.finish_job(job_id, JobResult::Failed, true);
                    return true;
                }
            }
        }
        false
    }

    /// States of all queued jobs.
    pub(crate) fn job_states(&self) -> Vec<JobState> {
        let state = |(id, job): (&JobId, &Job)| JobState {
            job: id.0,
            unit: self.unit(job.unit).name.to_string(),
            kind: job.kind.name().into(),
            state: if job.running { "running" } else { "waiting" }.into(),
            result: String::new(),
        };
        self.jobs.iter().map(state).collect()
    }

    /// Is a stop queued for it?
    pub(crate) fn stop_is_queued(&self, id: UnitId) -> bool {
        let job = self.unit(id).job.and_then(|job| self.jobs.get(&job));
        job.is_some_and(|job| job.kind == JobKind::Stop)
    }

    fn start_unit(&mut self, id: UnitId) -> Result<(), StartError> {
        let unit = self.unit(id);
        if unit.active.is_active() {
            return Err(StartError::Already);
        }
        if unit.load != LoadState::Loaded {
            return Err(StartError::Ends(JobResult::Invalid));
        }
        if unit.active != ActiveState::Activating {
            self.check_conditions(id)?;
        }
        let unbound = |other: UnitId| {
            !self.unit(other).active.is_active() && self.unit(id).is_related(Relation::After, other)
        };
        if self.unit(id).related(Relation::BindsTo).any(unbound) {
            return Err(StartError::Ends(JobResult::Dependency));
        }
        self.activate(id)
    }

    fn check_conditions(&mut self, id: UnitId) -> Result<(), StartError> {
        let unit = self.unit(id);
        let failed = |assert| {
            crate::conditions::first_failed(&unit.config.conditions, assert)
                .map(crate::conditions::Condition::describe)
        };
        let (condition, assert) = (failed(false), failed(true));
        let description = unit.description().to_owned();
        self.unit_mut(id).condition_result = Some(condition.is_none());
        if let Some(text) = condition {
            self.log_unit(
                id,
                6,
                &format!("{description} was skipped because of an unmet condition check ({text})."),
            );
            return Err(StartError::Already);
        }
        if let Some(text) = assert {
            self.log_unit(id, 3, &format!("Assertion failed for {description} ({text})."));
            return Err(StartError::Ends(JobResult::Assert));
        }
        Ok(())
    }

    fn activate(&mut self, id: UnitId) -> Result<(), StartError> {
        match self.unit(id).detail {
            Detail::Service(_) => self.service_start(id),
            Detail::Timer(_) => self.timer_start(id),
            Detail::Path(_) => self.path_start(id),
            Detail::Socket(_) => self.socket_start(id),
            Detail::Mount(_) => self.mount_start(id),
            Detail::Plain => {
                self.new_invocation(id);
                self.set_state(id, ActiveState::Active, "active");
                Ok(())
            }
        }
    }

    fn stop_unit(&mut self, id: UnitId) -> Result<(), StartError> {
        if self.unit(id).active.is_down() {
            return Err(StartError::Already);
        }
        match self.unit(id).detail {
            Detail::Service(_) => self.service_stop(id),
            Detail::Timer(_) => self.timer_stop(id),
            Detail::Path(_) => self.path_stop(id),
            Detail::Socket(_) => self.socket_stop(id),
            Detail::Mount(_) => self.mount_stop(id),
            Detail::Plain => {
                if crate::builtin::is_perpetual(self.unit(id).name.as_str()) {
                    return Err(StartError::Ends(JobResult::Invalid));
                }
                self.set_state(id, ActiveState::Inactive, "dead");
            }
        }
        Ok(())
    }

    fn reload_unit(&mut self, id: UnitId) -> Result<(), StartError> {
        match self.unit(id).active {
            ActiveState::Reloading | ActiveState::Activating => Err(StartError::Wait),
            ActiveState::Active => {
                self.service_reload(id);
                Ok(())
            }
            _ => Err(StartError::Ends(JobResult::Invalid)),
        }
    }
}

impl Supervisor {
    /// Counts a start against the unit's limit; false if it is over it.
    pub(crate) fn count_start(&mut self, id: UnitId) -> bool {
        let now = Moment::now();
        let unit = self.unit_mut(id);
        let (interval, burst) = (unit.config.start_limit_interval, unit.config.start_limit_burst);
        if interval.is_zero() || burst == 0 {
            return true;
        }
        while unit.starts.front().is_some_and(|first| now.since(*first) >= interval) {
            unit.starts.pop_front();
        }
        if unit.starts.len() >= burst as usize {
            unit.start_limit_hit = true;
            return false;
        }
        unit.starts.push_back(now);
        unit.start_limit_hit = false;
        true
    }
}
