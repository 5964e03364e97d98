//! The one place where states of units change, and what follows for their neighbours.

use units_api::{JobMode, ShutdownAction};

use crate::clock::{Moment, wall_clock};
use crate::config::general::{Action, Relation};
use crate::states::{ActiveState, JobKind};
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

impl Supervisor {
    /// Changes the state of a unit, and does what follows from it.
    pub(crate) fn set_state(&mut self, id: UnitId, active: ActiveState, sub: &'static str) {
        let now = Moment::now();
        let unit = self.unit_mut(id);
        let (old, old_sub) = (unit.active, unit.sub);
        (unit.active, unit.sub) = (active, sub);
        if old != active {
            let times = &mut unit.times;
            times.changed = wall_clock();
            if old.is_down() && !active.is_down() {
                times.inactive_exit = now;
            } else if !old.is_down() && active.is_down() {
                (times.inactive_enter, times.inactive_enter_wall) = (now, wall_clock());
            }
            if !old.is_active() && active.is_active() {
                (times.active_enter, times.active_enter_wall) = (now, wall_clock());
            } else if old.is_active() && !active.is_active() {
                times.active_exit = now;
            }
        }
        if old != active || old_sub != sub {
            self.emit_state(id);
        }
        self.follow_up(id, old, active);
    }

    fn follow_up(&mut self, id: UnitId, old: ActiveState, new: ActiveState) {
        let (reload_failed, will_restart) = match &self.unit(id).detail {
            Detail::Service(service) => {
                (service.reload_result != crate::states::ServiceResult::Success, service.will_restart)
            }
            _ => (false, false),
        };
        let unexpected = self.advance_job(id, new, reload_failed);
        if unexpected && self.shutdown.is_none() {
            if old.is_down() && new.is_active_or_activating() {
                self.start_needed(id);
            } else if old.is_active_or_activating() && !new.is_active_or_activating() {
                self.stop_bound(id);
            }
        }
        if new != old && new == ActiveState::Failed && !will_restart {
            self.trigger(id, Relation::OnFailure);
            let action = self.unit(id).config.failure_action;
            self.take_action(id, action, "failure");
        }
        if new == ActiveState::Inactive && !old.is_down() && !will_restart {
            self.trigger(id, Relation::OnSuccess);
            let action = self.unit(id).config.success_action;
            self.take_action(id, action, "success");
        }
        if old == new && new.is_down() {
            self.tell_timers(id);
        }
        if old != new {
            self.tell_triggers(id);
            self.check_neighbours(id, new);
            self.wake_neighbours(id);
        }
    }

    /// A unit that came up by itself gets what it requires.
    fn start_needed(&mut self, id: UnitId) {
        let unit = self.unit(id);
        let mut needed: Vec<_> =
            unit.related(Relation::Requires).chain(unit.related(Relation::BindsTo)).collect();
        needed
            .retain(|other| !unit.is_related(Relation::After, *other) && self.unit(*other).active.is_down());
        for other in needed {
            let _ = self.enqueue(other, JobKind::Start, JobMode::Replace);
        }
    }

    /// What is bound to a unit that went down by itself goes down too.
    fn stop_bound(&mut self, id: UnitId) {
        let bound: Vec<_> = self
            .unit(id)
            .related(Relation::BoundBy)
            .filter(|other| !self.unit(*other).active.is_down())
            .collect();
        for other in bound {
            let _ = self.enqueue(other, JobKind::Stop, JobMode::Replace);
        }
    }

    fn check_neighbours(&mut self, id: UnitId, new: ActiveState) {
        let unit = self.unit(id);
        if new.is_down() {
            let bound: Vec<_> = unit.related(Relation::BoundBy).collect();
            let no_longer_needed =
                [Relation::Requires, Relation::Wants, Relation::BindsTo, Relation::Requisite];
            let mut needed: Vec<_> =
                no_longer_needed.iter().flat_map(|relation| unit.related(*relation)).collect();
            needed.retain(|other| self.unit(*other).config.stop_when_unneeded);
            self.bound_queue.extend(bound);
            self.bound_queue.extend(needed);
        } else if new.is_active() {
            self.bound_queue.push_back(id);
        }
    }

    pub(crate) fn stop_if_unbound(&mut self, id: UnitId) {
        let unit = self.unit(id);
        if !unit.active.is_active() || unit.job.is_some() || self.shutdown.is_some() {
            return;
        }
        let down = |other: UnitId| self.unit(other).active.is_down() && self.unit(other).job.is_none();
        let unbound = unit.related(Relation::BindsTo).any(down);
        let needers = [
            Relation::RequiredBy,
            Relation::WantedBy,
            Relation::BoundBy,
            Relation::RequisiteOf,
            Relation::UpheldBy,
        ];
        let unneeded = unit.config.stop_when_unneeded
            && needers
                .iter()
                .flat_map(|relation| unit.related(*relation))
                .all(|other| self.unit(other).active.is_down() && self.unit(other).job.is_none());
        if unbound || unneeded {
            let _ = self.enqueue(id, JobKind::Stop, JobMode::Fail);
        }
    }

    /// Starts what is to be started when this fails or ends well.
    pub(crate) fn trigger(&mut self, id: UnitId, relation: Relation) {
        if self.shutdown.is_some() {
            return;
        }
        let others: Vec<_> = self.unit(id).related(relation).collect();
        for other in others {
            let name = self.unit(other).name.to_string();
            self.log_unit(id, 6, &format!("Triggering {relation:?}= dependency {name}."));
            if let Err(error) = self.enqueue(other, JobKind::Start, JobMode::Replace) {
                self.log_unit(id, 4, &format!("could not start {name}: {error}"));
            }
        }
    }

    pub(crate) fn start_limit_was_hit(&mut self, id: UnitId) {
        let action = self.unit(id).config.start_limit_action;
        self.take_action(id, action, "start limit");
    }

    fn take_action(&mut self, id: UnitId, action: Action, why: &str) {
        let shutdown = match action {
            Action::None => return,
            Action::Reboot => ShutdownAction::Reboot,
            Action::Poweroff => ShutdownAction::Poweroff,
            Action::Exit => ShutdownAction::Exit,
        };
        let reason = format!("{why} of {}", self.unit(id).name);
        self.begin_shutdown(shutdown, &reason);
    }
}
