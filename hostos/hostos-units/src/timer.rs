//! Timers at run time.

use std::path::PathBuf;
use std::time::Duration;

use units_api::{JobMode, TimerState};

use crate::clock::{Moment, micros, wall_clock};
use crate::config::general::Relation;
use crate::config::triggers::{TimerBase, TimerConfig};
use crate::jobs::StartError;
use crate::poll::Timeout;
use crate::states::{ActiveState, JobKind};
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

#[derive(Debug)]
pub(crate) struct Timer {
    pub(crate) config: TimerConfig,
    /// Microseconds since 1970 at which it last elapsed.
    last: u64,
    last_moment: Moment,
    next: Option<Moment>,
}

impl Timer {
    pub(crate) fn new(config: TimerConfig) -> Self {
        Self { config, last: 0, last_moment: Moment::default(), next: None }
    }
}

impl Supervisor {
    fn timer(&self, id: UnitId) -> &Timer {
        match &self.unit(id).detail {
            Detail::Timer(timer) => timer,
            _ => unreachable!("only asked of timers"),
        }
    }

    fn timer_mut(&mut self, id: UnitId) -> &mut Timer {
        match &mut self.unit_mut(id).detail {
            Detail::Timer(timer) => timer,
            _ => unreachable!("only asked of timers"),
        }
    }

    fn stamp_file(&self, id: UnitId) -> PathBuf {
        self.options.state_dir.join("units/timers").join(format!("stamp-{}", self.unit(id).name))
    }

    pub(crate) fn timer_start(&mut self, id: UnitId) -> Result<(), StartError> {
        self.new_invocation(id);
        if self.timer(id).config.persistent {
            let path = self.stamp_file(id);
            let stamp = std::fs::metadata(&path).and_then(|meta| meta.modified());
            match stamp.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()) {
                Some(since) => self.timer_mut(id).last = micros(since),
                // The first time, now counts as the last run, or it would run at once.
                None => {
                    touch(&path);
                    self.timer_mut(id).last = wall_clock();
                }
            }
        }
        self.set_state(id, ActiveState::Active, "waiting");
        self.arm_timer(id, true);
        Ok(())
    }

    pub(crate) fn timer_stop(&mut self, id: UnitId) {
        self.deadlines.clear(Timeout::Timer(id));
        self.timer_mut(id).next = None;
        self.set_state(id, ActiveState::Inactive, "dead");
    }

    /// After the clock or the files have changed.
    pub(crate) fn rearm_timers(&mut self) {
        let all = (0..self.units.len()).filter_map(|index| u32::try_from(index).ok()).map(UnitId);
        let waiting: Vec<_> = all
            .filter(|id| matches!(self.unit(*id).detail, Detail::Timer(_)) && self.unit(*id).sub == "waiting")
            .collect();
        for id in waiting {
            self.arm_timer(id, false);
        }
    }

    /// Finds the next moment and waits for it. `first`: the timer was just started, so a moment
    /// that has passed already counts once.
    fn arm_timer(&mut self, id: UnitId, first: bool) {
        let now = Moment::now();
        let next = self.next_elapse(id, now, first);
        self.timer_mut(id).next = next;
        match next {
            Some(at) => {
                let delay = random_below(self.timer(id).config.random_delay);
                self.deadlines.set(Timeout::Timer(id), at.after(delay));
                if self.unit(id).sub != "waiting" {
                    self.set_state(id, ActiveState::Active, "waiting");
                }
            }
            None => {
                self.deadlines.clear(Timeout::Timer(id));
                if self.timer(id).config.remain_after_elapse {
                    self.set_state(id, ActiveState::Active, "elapsed");
                } else {
                    self.set_state(id, ActiveState::Inactive, "dead");
                }
            }
        }
    }

    fn next_elapse(&self, id: UnitId, now: Moment, first: bool) -> Option<Moment> {
        let timer = self.timer(id);
        let triggered = self.names.get(&timer.config.unit).map(|id| self.unit(*id));
        let unit = self.unit(id);
        let mut candidates: Vec<Moment> = Vec::new();
        for (base, span) in &timer.config.spans {
            let from = match base {
                TimerBase::Active => Some(unit.times.active_enter),
                TimerBase::Boot => Some(Moment(0)),
                TimerBase::Startup => Some(self.started),
                // A start that was refused leaves the unit's times as they were: the span counts from there.
                TimerBase::UnitActive => {
                    triggered.map(|unit| unit.times.inactive_exit.max(timer.last_moment))
                }
                TimerBase::UnitInactive => {
                    triggered.map(|unit| unit.times.inactive_enter.max(timer.last_moment))
                }
            };
            let Some(from) =
                from.or(Some(timer.last_moment)).filter(|at| at.0 > 0 || *base == TimerBase::Boot)
            else {
                continue;
            };
            let at = from.after(*span);
            let once = matches!(base, TimerBase::Active | TimerBase::Boot | TimerBase::Startup);
            // These elapse once; when they have, they are over.
            if once && at <= now && !(first && timer.last_moment < at) {
                continue;
            }
            candidates.push(at.max(now));
        }
        let wall = wall_clock();
        for calendar in &timer.config.calendars {
            // A persistent timer makes up for what it missed while the machine was off.
            let base = if timer.config.persistent && timer.last > 0 { timer.last } else { wall };
            let base = i64::try_from(base).unwrap_or(i64::MAX);
            if let Some(at) = calendar.next_after(base).and_then(|at| u64::try_from(at).ok()) {
                candidates.push(now.after(Duration::from_micros(at.saturating_sub(wall))));
            }
        }
        candidates.into_iter().min()
    }

    pub(crate) fn timer_elapsed(&mut self, id: UnitId) {
        if self.unit(id).active != ActiveState::Active {
            return;
        }
        let persistent = self.timer(id).config.persistent;
        let timer = self.timer_mut(id);
        timer.last = wall_clock();
        timer.last_moment = Moment::now();
        timer.next = None;
        if persistent {
            touch(&self.stamp_file(id));
        }
        let triggered: Vec<_> = self.unit(id).related(Relation::Triggers).collect();
        self.set_state(id, ActiveState::Active, "running");
        for other in triggered {
            if let Err(error) = self.enqueue(other, JobKind::Start, JobMode::Replace) {
                self.log_unit(id, 4, &format!("could not start {}: {error}", self.unit(other).name.clone()));
            }
            // A unit that stays active will not tell of its end.
            if self.unit(other).active.is_active() {
                self.arm_timer(id, false);
            }
        }
    }

    /// A unit changed; what triggers it may look for its next occasion.
    pub(crate) fn tell_triggers(&mut self, id: UnitId) {
        let triggers: Vec<_> = self.unit(id).related(Relation::TriggeredBy).collect();
        for trigger in triggers {
            match (&self.unit(trigger).detail, self.unit(trigger).active) {
                (Detail::Timer(_), ActiveState::Active) => self.arm_timer(trigger, false),
                (Detail::Path(_), ActiveState::Active) => self.path_triggered_changed(trigger, id),
                (Detail::Socket(_), ActiveState::Active) => self.socket_triggered_changed(trigger, id),
                _ => {}
            }
        }
    }

    /// A unit was not let start, and is down as before: a timer that waits for its end must not wait on.
    pub(crate) fn tell_timers(&mut self, id: UnitId) {
        let triggers: Vec<_> = self.unit(id).related(Relation::TriggeredBy).collect();
        for trigger in triggers {
            let unit = self.unit(trigger);
            if matches!(unit.detail, Detail::Timer(_)) && unit.sub == "running" {
                self.arm_timer(trigger, false);
            }
        }
    }

    pub(crate) fn timer_states(&self) -> Vec<TimerState> {
        let now = Moment::now();
        let wall = wall_clock();
        let mut found = Vec::new();
        for unit in &self.units {
            let Detail::Timer(timer) = &unit.detail else { continue };
            if unit.active != ActiveState::Active {
                continue;
            }
            found.push(TimerState {
                unit: unit.name.to_string(),
                activates: timer.config.unit.to_string(),
                next: timer.next.map_or(0, |at| wall + micros(at.since(now))),
                last: timer.last,
            });
        }
        found.sort_by_key(|timer| (timer.next == 0, timer.next));
        found
    }
}

fn touch(path: &std::path::Path) {
    if let Some(parent) = path.parent() {
        let _ = std::fs::create_dir_all(parent);
    }
    // A write, even of nothing new, sets the time.
    let _ = std::fs::write(path, "");
}

fn random_below(span: Duration) -> Duration {
    if span.is_zero() {
        return span;
    }
    let seed = u64::from_str_radix(&crate::host::random_id()[..12], 16).unwrap_or(0);
    Duration::from_micros(seed % micros(span).max(1))
}
