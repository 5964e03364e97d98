//! What clients are told about a unit, in systemd's words.

use std::collections::BTreeMap;

use unit_file::UnitKind;
use units_api::UnitState;

use crate::config::general::Relation;
use crate::config::service::Step;
use crate::exit::Exit;
use crate::states::LoadState;
use crate::supervisor::Supervisor;
use crate::unit::{Detail, UnitId};

impl Supervisor {
    pub(crate) fn describe(&self, id: UnitId) -> UnitState {
        let unit = self.unit(id);
        let (main_pid, exit, restarts) = match &unit.detail {
            Detail::Service(service) => (service.main_pid.unwrap_or(0), service.main_exit, service.restarts),
            _ => (0, None, 0),
        };
        let job = unit.job.and_then(|job| self.jobs.get(&job)).map_or("", |job| job.kind.name());
        UnitState {
            name: unit.name.to_string(),
            description: unit.description().to_owned(),
            load: unit.load.name().to_owned(),
            active: unit.active.name().to_owned(),
            sub: unit.sub.to_owned(),
            job: job.to_owned(),
            result: unit.result().to_owned(),
            main_pid,
            exit_status: exit.map_or(0, Exit::status),
            exit_code: exit.map_or("", Exit::name).to_owned(),
            restarts,
            fragment: unit.fragment.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            file_state: unit.file_state.clone(),
            changed: unit.times.changed,
            invocation: unit.invocation.clone(),
        }
    }

    /// Everything that `systemctl show` prints.
    pub(crate) fn properties(&self, id: UnitId) -> BTreeMap<String, String> {
        let unit = self.unit(id);
        let state = self.describe(id);
        let mut all = BTreeMap::new();
        let mut put = |key: &str, value: String| drop(all.insert(key.to_owned(), value));
        put("Id", state.name.clone());
        let aliases = self.names.iter().filter(|(_, known)| **known == id).map(|(name, _)| name.to_string());
        put("Names", aliases.collect::<Vec<_>>().join(" "));
        put("Description", state.description);
        put("LoadState", state.load);
        put("ActiveState", state.active);
        put("SubState", state.sub);
        if !matches!(unit.kind(), UnitKind::Target | UnitKind::Slice | UnitKind::Device) {
            put("Result", state.result);
        }
        put("FragmentPath", state.fragment);
        put(
            "DropInPaths",
            unit.drop_ins.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "),
        );
        put("UnitFileState", state.file_state);
        put("InvocationID", state.invocation);
        put("Documentation", unit.config.documentation.join(" "));
        put("LoadError", unit.load_error.clone());
        put("Job", unit.job.map_or_else(String::new, |job| job.0.to_string()));
        put("ConditionResult", yes_no(unit.condition_result.unwrap_or(false)));
        put("CanStart", yes_no(unit.load == LoadState::Loaded && !unit.config.refuse_manual_start));
        put("CanStop", yes_no(!unit.config.refuse_manual_stop));
        put("CanReload", yes_no(self.can_reload(id)));
        put("DefaultDependencies", yes_no(unit.config.default_dependencies));
        put("StartLimitBurst", unit.config.start_limit_burst.to_string());
        put("StartLimitIntervalUSec", span(unit.config.start_limit_interval));
        put("ActiveEnterTimestamp", timestamp(unit.times.active_enter_wall));
        put("ActiveEnterTimestampMonotonic", unit.times.active_enter.0.to_string());
        put("ActiveExitTimestampMonotonic", unit.times.active_exit.0.to_string());
        put("InactiveEnterTimestamp", timestamp(unit.times.inactive_enter_wall));
        put("InactiveEnterTimestampMonotonic", unit.times.inactive_enter.0.to_string());
        put("InactiveExitTimestampMonotonic", unit.times.inactive_exit.0.to_string());
        put("StateChangeTimestamp", timestamp(unit.times.changed));
        for relation in Relation::ALL {
            let others: Vec<_> =
                unit.related(relation).map(|other| self.unit(other).name.to_string()).collect();
            if !others.is_empty() {
                put(&relation.name(), others.join(" "));
            }
        }
        if let Some(path) = &unit.cgroup {
            let root = self.cgroups.root().map(|root| root.display().to_string()).unwrap_or_default();
            put("ControlGroup", path.display().to_string().replacen(&root, "", 1));
            put("TasksCurrent", read_number(&path.join("pids.current")));
            put("MemoryCurrent", read_number(&path.join("memory.current")));
        }
        if let Detail::Service(service) = &unit.detail {
            let config = &service.config;
            put("Type", config.kind.name().to_owned());
            put("Restart", config.restart.name().to_owned());
            put("RestartUSec", span(config.restart_after));
            put("TimeoutStartUSec", config.timeout_start.map_or_else(|| "infinity".into(), span));
            put("TimeoutStopUSec", config.timeout_stop.map_or_else(|| "infinity".into(), span));
            put("RemainAfterExit", yes_no(config.remain_after_exit));
            put("KillMode", config.kill.mode.name().to_owned());
            put("KillSignal", config.kill.signal.to_string());
            put("PIDFile", config.pid_file.clone().unwrap_or_default());
            put("MainPID", service.main_pid.unwrap_or(0).to_string());
            put("ControlPID", service.control_pid.unwrap_or(0).to_string());
            put("NRestarts", service.restarts.to_string());
            put("StatusText", service.status_text.clone());
            put("ReloadResult", service.reload_result.name().to_owned());
            put("User", config.exec.user.clone().unwrap_or_default());
            put("Slice", config.resources.slice.clone().unwrap_or_else(|| "system.slice".into()));
            let environment = config.exec.environment.iter().map(|(name, value)| format!("{name}={value}"));
            put("Environment", environment.collect::<Vec<_>>().join(" "));
            // As CLD_EXITED, CLD_KILLED, CLD_DUMPED.
            let code = service.main_exit.map_or(0, |exit| match exit {
                Exit::Code(_) => 1,
                Exit::Signal(_) => 2,
                Exit::Dumped(_) => 3,
            });
            put("ExecMainCode", code.to_string());
            put("ExecMainStatus", service.main_exit.map_or(0, Exit::status).to_string());
            if let Some(ran) = service.main_ran {
                put("ExecMainPID", ran.pid.to_string());
                put("ExecMainStartTimestamp", timestamp(ran.started));
                put("ExecMainExitTimestamp", timestamp(ran.ended));
            }
            for step in Step::ALL {
                let commands = config.commands(step);
                if !commands.is_empty() {
                    put(
                        step.key(),
                        commands.iter().map(|command| command.argv.join(" ")).collect::<Vec<_>>().join(" ; "),
                    );
                }
            }
        }
        if let Detail::Timer(timer) = &unit.detail {
            put("Unit", timer.config.unit.to_string());
        }
        all
    }
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn span(span: std::time::Duration) -> String {
    if span == std::time::Duration::MAX {
        return "infinity".into();
    }
    unit_file::format_span(span, std::time::Duration::from_micros(1))
}

fn read_number(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "[not set]".into(), |text| text.trim().to_owned())
}

/// `Sat 2026-11-21 23:18:30 UTC`, or empty for never.
pub(crate) fn timestamp(micros: u64) -> String {
    if micros == 0 {
        return String::new();
    }
    let format = time::macros::format_description!(
        "[weekday repr:short] [year]-[month]-[day] [hour]:[minute]:[second] UTC"
    );
    let seconds = i64::try_from(micros / 1_000_000).unwrap_or(0);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| at.format(&format).ok())
        .unwrap_or_default()
}
