//! From one wish ("start this") to the set of jobs that fulfils it: dependencies are followed,
//! contradictions and ordering cycles are resolved by dropping what does not matter, what is
//! already so is left out. Nothing is changed here; see `jobs` for what happens next.

use std::collections::{BTreeMap, BTreeSet};

use units_api::{ErrorKind, JobMode, WireError};

use crate::config::general::Relation;
use crate::states::{JobKind, LoadState};
use crate::unit::{Unit, UnitId};

/// A job to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) kind: JobKind,
    /// The wish fails without it.
    matters: bool,
    /// It stops a unit because another one conflicts.
    conflict: bool,
}

/// The jobs for one wish.
pub(crate) struct Transaction<'a> {
    units: &'a [Unit],
    planned: BTreeMap<UnitId, Vec<Planned>>,
    anchor: UnitId,
    mode: JobMode,
    /// What was ignored on the way, for the log.
    pub(crate) notes: Vec<String>,
}

fn refuse(kind: ErrorKind, message: String) -> WireError {
    WireError { kind, message }
}

/// Why a unit that is not loaded cannot be started.
pub(crate) fn load_error(unit: &Unit) -> WireError {
    let (kind, message) = match unit.load {
        LoadState::NotFound => (ErrorKind::NotFound, format!("Unit {} not found.", unit.name)),
        LoadState::Masked => (ErrorKind::Masked, format!("Unit {} is masked.", unit.name)),
        LoadState::BadSetting => (
            ErrorKind::BadUnit,
            format!("Unit {} has a bad unit file setting: {}", unit.name, unit.load_error),
        ),
        _ => (ErrorKind::BadUnit, format!("Unit {} failed to load: {}", unit.name, unit.load_error)),
    };
    refuse(kind, message)
}

impl<'a> Transaction<'a> {
    /// Plans the jobs.
    ///
    /// # Errors
    /// A required unit cannot be started, or required jobs contradict each other.
    pub(crate) fn plan(
        units: &'a [Unit],
        anchor: UnitId,
        kind: JobKind,
        mode: JobMode,
    ) -> Result<Self, WireError> {
        let refuses = !units[anchor.0 as usize].config.allow_isolate;
        if mode == JobMode::Isolate && refuses {
            return Err(refuse(
                ErrorKind::NotApplicable,
                "Operation refused, unit may not be isolated.".into(),
            ));
        }
        let mut this = Self { units, planned: BTreeMap::new(), anchor, mode, notes: Vec::new() };
        this.add(kind, anchor, true, false)?;
        if mode == JobMode::Isolate {
            this.stop_the_rest();
        }
        this.drop_redundant();
        this.break_cycles()?;
        this.merge()?;
        this.drop_redundant();
        Ok(this)
    }

    /// The jobs, by unit.
    pub(crate) fn jobs(&self) -> Vec<(UnitId, JobKind)> {
        self.planned.iter().map(|(id, jobs)| (*id, jobs[0].kind)).collect()
    }

    fn unit(&self, id: UnitId) -> &'a Unit {
        &self.units[id.0 as usize]
    }

    /// What a wish comes down to in the unit's present state; nothing if it has no effect.
    fn collapse(&self, kind: JobKind, id: UnitId) -> Option<JobKind> {
        let active = self.unit(id).active.is_active_or_activating();
        match kind {
            JobKind::TryRestart => active.then_some(JobKind::Restart),
            JobKind::ReloadOrStart => Some(if active { JobKind::Reload } else { JobKind::Start }),
            kind => Some(kind),
        }
    }

    fn add(&mut self, kind: JobKind, id: UnitId, matters: bool, conflict: bool) -> Result<(), WireError> {
        let Some(kind) = self.collapse(kind, id) else { return Ok(()) };
        let unit = self.unit(id);
        // A restart of what is masked or gone still stops it.
        if matches!(kind, JobKind::Start | JobKind::VerifyActive) && unit.load != LoadState::Loaded {
            return Err(load_error(unit));
        }
        let jobs = self.planned.entry(id).or_default();
        if let Some(known) = jobs.iter_mut().find(|job| job.kind == kind) {
            known.conflict &= conflict;
            if known.matters || !matters {
                return Ok(());
            }
            known.matters = true;
        } else {
            jobs.push(Planned { kind, matters, conflict });
        }
        if self.mode == JobMode::IgnoreDependencies {
            return Ok(());
        }
        match kind {
            JobKind::Start => self.add_start(id, matters),
            JobKind::Stop => self.add_stop(id, matters, false),
            JobKind::Restart => {
                self.add_start(id, matters)?;
                self.add_stop(id, matters, true)
            }
            JobKind::Reload => {
                for other in self.unit(id).related(Relation::PropagatesReloadTo) {
                    self.try_add(JobKind::Reload, other, false);
                }
                Ok(())
            }
            JobKind::VerifyActive | JobKind::TryRestart | JobKind::ReloadOrStart => Ok(()),
        }
    }

    /// Adds what is welcome but not necessary.
    fn try_add(&mut self, kind: JobKind, id: UnitId, conflict: bool) {
        if let Err(error) = self.add(kind, id, false, conflict) {
            self.notes.push(format!("cannot add dependency job, ignoring: {}", error.message));
        }
    }

    fn add_start(&mut self, id: UnitId, matters: bool) -> Result<(), WireError> {
        let unit = self.unit(id);
        for relation in [Relation::Requires, Relation::BindsTo] {
            for other in unit.related(relation) {
                self.add(JobKind::Start, other, matters, false)?;
            }
        }
        for relation in [Relation::Wants, Relation::Upholds] {
            for other in unit.related(relation) {
                self.try_add(JobKind::Start, other, false);
            }
        }
        for other in unit.related(Relation::Requisite) {
            self.add(JobKind::VerifyActive, other, matters, false)?;
        }
        for other in unit.related(Relation::Conflicts) {
            self.add(JobKind::Stop, other, matters, true)?;
        }
        for other in unit.related(Relation::ConflictedBy) {
            self.try_add(JobKind::Stop, other, false);
        }
        Ok(())
    }

    fn add_stop(&mut self, id: UnitId, matters: bool, restart: bool) -> Result<(), WireError> {
        let unit = self.unit(id);
        let kind = if restart { JobKind::TryRestart } else { JobKind::Stop };
        for relation in [Relation::RequiredBy, Relation::RequisiteOf, Relation::BoundBy, Relation::ConsistsOf]
        {
            for other in unit.related(relation) {
                self.add(kind, other, matters, false)?;
            }
        }
        if !restart {
            for other in unit.related(Relation::PropagatesStopTo) {
                self.add(JobKind::Stop, other, matters, false)?;
            }
        }
        Ok(())
    }

    fn stop_the_rest(&mut self) {
        let wanted: BTreeSet<_> = self.planned.keys().copied().collect();
        for index in 0..self.units.len() {
            let id = UnitId(u32::try_from(index).expect("fewer units than 2^32"));
            let unit = self.unit(id);
            let idle = unit.active.is_down() && unit.job.is_none();
            let keep = unit.config.ignore_on_isolate || crate::builtin::is_perpetual(unit.name.as_str());
            let kept_kind = matches!(unit.kind(), unit_file::UnitKind::Slice | unit_file::UnitKind::Scope);
            if !wanted.contains(&id) && !idle && !keep && !kept_kind {
                self.try_add(JobKind::Stop, id, false);
            }
        }
    }

    /// Is the unit already what the job wants, with nothing queued that would change it?
    fn is_redundant(&self, id: UnitId, job: Planned) -> bool {
        let unit = self.unit(id);
        let fulfilled = match job.kind {
            JobKind::Start | JobKind::VerifyActive => unit.active.is_active(),
            JobKind::Stop => unit.active.is_down(),
            JobKind::Reload => false,
            JobKind::Restart | JobKind::TryRestart | JobKind::ReloadOrStart => false,
        };
        fulfilled && unit.job.is_none()
    }

    fn drop_redundant(&mut self) {
        let redundant: Vec<_> = self
            .planned
            .iter()
            .filter(|(id, jobs)| **id != self.anchor && jobs.iter().all(|job| self.is_redundant(**id, *job)))
            .map(|(id, _)| *id)
            .collect();
        for id in redundant {
            self.planned.remove(&id);
        }
    }

    /// Ordering cycles are broken by dropping a job in them that does not matter.
    fn break_cycles(&mut self) -> Result<(), WireError> {
        while let Some(cycle) = self.find_cycle() {
            let names: Vec<_> = cycle.iter().map(|id| self.unit(*id).name.to_string()).collect();
            let droppable =
                |id: &&UnitId| **id != self.anchor && !self.planned[id].iter().any(|job| job.matters);
            let Some(victim) = cycle.iter().rev().find(droppable).copied() else {
                let message = format!("Transaction order is cyclic: {}.", names.join(" "));
                return Err(refuse(ErrorKind::Conflict, message));
            };
            self.notes.push(format!(
                "ordering cycle {}: job for {} deleted",
                names.join(" "),
                self.unit(victim).name
            ));
            self.planned.remove(&victim);
        }
        Ok(())
    }

    fn find_cycle(&self) -> Option<Vec<UnitId>> {
        let mut done = BTreeSet::new();
        for start in self.planned.keys() {
            let mut path: Vec<(UnitId, Vec<UnitId>)> = vec![(*start, self.before(*start))];
            while let Some((_, next)) = path.last_mut() {
                let Some(candidate) = next.pop() else {
                    let (finished, _) = path.pop().expect("not empty");
                    done.insert(finished);
                    continue;
                };
                if let Some(at) = path.iter().position(|(id, _)| *id == candidate) {
                    return Some(path[at..].iter().map(|(id, _)| *id).collect());
                }
                if !done.contains(&candidate) {
                    path.push((candidate, self.before(candidate)));
                }
            }
        }
        None
    }

    /// Units with a job that a start of this one waits for.
    fn before(&self, id: UnitId) -> Vec<UnitId> {
        self.unit(id).related(Relation::After).filter(|other| self.planned.contains_key(other)).collect()
    }

    /// Comes down to one job a unit.
    fn merge(&mut self) -> Result<(), WireError> {
        let ids: Vec<_> = self.planned.keys().copied().collect();
        for id in ids {
            while let Some((a, b)) =
                self.planned.get(&id).and_then(|jobs| jobs.first().copied().zip(jobs.get(1).copied()))
            {
                let merged = match merge_kinds(a.kind, b.kind) {
                    Some(kind) => Some(Planned {
                        kind,
                        matters: a.matters || b.matters,
                        conflict: a.conflict && b.conflict,
                    }),
                    None => self.choose(a, b),
                };
                let Some(merged) = merged else {
                    let unit = &self.unit(id).name;
                    let (a, b) = (a.kind.name(), b.kind.name());
                    let message = format!(
                        "Transaction contains conflicting jobs '{a}' and '{b}' for {unit}. Probably contradicting requirement dependencies configured."
                    );
                    return Err(refuse(ErrorKind::Conflict, message));
                };
                let jobs = self.planned.get_mut(&id).expect("looked at above");
                jobs.splice(..2, [merged]);
            }
        }
        Ok(())
    }

    /// Which of two contradicting jobs survives: the one that matters; of two that do not, the stop
    /// unless it is only there because of a conflict.
    fn choose(&self, a: Planned, b: Planned) -> Option<Planned> {
        match (a.matters, b.matters) {
            (true, false) => Some(a),
            (false, true) => Some(b),
            (true, true) => None,
            (false, false) => {
                let (stop, other) = if a.kind == JobKind::Stop { (a, b) } else { (b, a) };
                Some(if stop.conflict { other } else { stop })
            }
        }
    }
}

/// One job that does what both do, if there is one.
pub(crate) fn merge_kinds(a: JobKind, b: JobKind) -> Option<JobKind> {
    use JobKind::{Reload, ReloadOrStart, Restart, Start, TryRestart, VerifyActive};
    match (a, b) {
        (a, b) if a == b => Some(a),
        (JobKind::Stop, _) | (_, JobKind::Stop) => None,
        (VerifyActive, other) | (other, VerifyActive) => Some(other),
        (Restart, _) | (_, Restart) => Some(Restart),
        (Start, Reload) | (Reload, Start) | (ReloadOrStart, _) | (_, ReloadOrStart) => Some(ReloadOrStart),
        (Start, TryRestart) | (TryRestart, Start) => Some(Restart),
        (TryRestart, _) | (_, TryRestart) => Some(TryRestart),
        (Start, Start) | (Reload, Reload) => Some(a),
    }
}
