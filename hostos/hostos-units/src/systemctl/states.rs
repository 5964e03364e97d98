//! Verbs that tell about single units.

use units_api::{ClientError, Method, UnitState};

use super::{Call, err, out};
use crate::journal::{Filter, Reader};
use crate::show::timestamp;

impl Call {
    fn states_of(&self, units: &[String]) -> Result<Vec<UnitState>, ClientError> {
        let answer = self.connect()?.call(Method::Status { units: units.to_vec() })?;
        Ok(answer.units.unwrap_or_default())
    }

    pub(super) fn is_active(&self) -> Result<u8, ClientError> {
        let states = self.states_of(&self.units)?;
        for state in states.iter().filter(|_| !self.quiet) {
            out(&format!("{}\n", state.active));
        }
        let active = states.iter().any(|state| matches!(state.active.as_str(), "active" | "reloading"));
        Ok(match active {
            true => 0,
            false if states.iter().all(|state| state.load == "not-found") => 4,
            false => 3,
        })
    }

    pub(super) fn is_failed(&self) -> Result<u8, ClientError> {
        let states =
            if self.units.is_empty() { self.connect()?.list()? } else { self.states_of(&self.units)? };
        for state in states.iter().filter(|_| !self.quiet && !self.units.is_empty()) {
            out(&format!("{}\n", state.active));
        }
        Ok(u8::from(!states.iter().any(|state| state.active == "failed")))
    }

    pub(super) fn is_enabled(&self) -> Result<u8, ClientError> {
        let mut enabled = false;
        for state in self.states_of(&self.units)? {
            if state.load == "not-found" {
                err(&format!("Failed to get unit file state for {}: No such file or directory", state.name));
                continue;
            }
            let word = if state.file_state.is_empty() { "static" } else { &state.file_state };
            if !self.quiet {
                out(&format!("{word}\n"));
            }
            enabled |= matches!(word, "enabled" | "enabled-runtime" | "static" | "alias" | "indirect");
        }
        Ok(u8::from(!enabled))
    }

    pub(super) fn is_system_running(&self) -> Result<u8, ClientError> {
        let answer = self.connect()?.call(Method::Show { unit: String::new() })?;
        let state = answer.properties.unwrap_or_default().remove("SystemState").unwrap_or_default();
        if !self.quiet {
            out(&format!("{state}\n"));
        }
        Ok(u8::from(state != "running"))
    }

    pub(super) fn status(&self) -> Result<u8, ClientError> {
        if self.units.is_empty() {
            let answer = self.connect()?.call(Method::Show { unit: String::new() })?;
            let all = answer.properties.unwrap_or_default();
            let get = |key: &str| all.get(key).cloned().unwrap_or_default();
            out(&format!(
                "\u{25cf} {}\n    State: {}\n     Jobs: {} queued\n   Failed: {} units\n",
                crate::host::host_name(),
                get("SystemState"),
                get("NJobs"),
                get("NFailedUnits")
            ));
            return Ok(0);
        }
        let mut code = 0;
        for state in self.states_of(&self.units)? {
            if state.load == "not-found" && state.active == "inactive" {
                err(&format!("Unit {} could not be found.", state.name));
                code = 4;
                continue;
            }
            self.status_of(&state)?;
            if !matches!(state.active.as_str(), "active" | "reloading") && code == 0 {
                code = 3;
            }
        }
        Ok(code)
    }

    fn status_of(&self, state: &UnitState) -> Result<(), ClientError> {
        let answer = self.connect()?.call(Method::Show { unit: state.name.clone() })?;
        let all = answer.properties.unwrap_or_default();
        let get = |key: &str| all.get(key).map_or("", String::as_str);
        let mark = match state.active.as_str() {
            "active" | "reloading" => '\u{25cf}',
            "failed" => '\u{00d7}',
            _ => '\u{25cb}',
        };
        let mut text = format!("{mark} {}", state.name);
        if state.description != state.name {
            text.push_str(&format!(" - {}", state.description));
        }
        let mut loaded = state.load.clone();
        if !state.fragment.is_empty() {
            loaded.push_str(&format!(" ({}; {})", state.fragment, state.file_state));
        } else if !get("LoadError").is_empty() {
            loaded.push_str(&format!(" (Reason: {})", get("LoadError")));
        }
        text.push_str(&format!("\n     Loaded: {loaded}\n"));
        for path in get("DropInPaths").split(' ').filter(|path| !path.is_empty()) {
            text.push_str(&format!("    Drop-In: {path}\n"));
        }
        let result = if state.active == "failed" || state.sub == "auto-restart" {
            format!(" (Result: {})", state.result)
        } else {
            format!(" ({})", state.sub)
        };
        let since = timestamp(state.changed);
        let since =
            if since.is_empty() { since } else { format!(" since {since}; {} ago", ago(state.changed)) };
        text.push_str(&format!("     Active: {}{result}{since}\n", state.active));
        if !state.exit_code.is_empty() && state.main_pid == 0 {
            let pid = get("ExecMainPID");
            text.push_str(&format!(
                "   Main PID: {pid} (code={}, status={})\n",
                state.exit_code, state.exit_status
            ));
        } else if state.main_pid != 0 {
            text.push_str(&format!("   Main PID: {}\n", state.main_pid));
        }
        if !get("StatusText").is_empty() {
            text.push_str(&format!("     Status: \"{}\"\n", get("StatusText")));
        }
        for (key, label) in
            [("TasksCurrent", "Tasks"), ("MemoryCurrent", "Memory"), ("ControlGroup", "CGroup")]
        {
            if !get(key).is_empty() && get(key) != "[not set]" {
                text.push_str(&format!("{label:>11}: {}\n", get(key)));
            }
        }
        out(&text);
        self.last_lines(&state.name);
        Ok(())
    }

    fn last_lines(&self, unit: &str) {
        let filter = Filter { units: vec![unit.to_owned()], ..Filter::default() };
        let lines = Reader::new(&self.journal).tail(&filter, self.lines.unwrap_or(10));
        if !lines.is_empty() {
            out("\n");
        }
        for stored in lines {
            out(&crate::journalctl::short(&stored, &crate::host::host_name()));
        }
    }

    pub(super) fn show(&self) -> Result<u8, ClientError> {
        let units = if self.units.is_empty() { vec![String::new()] } else { self.units.clone() };
        let mut client = self.connect()?;
        for (index, unit) in units.into_iter().enumerate() {
            let answer = client.call(Method::Show { unit })?;
            let all = answer.properties.unwrap_or_default();
            if index > 0 && !self.value_only {
                out("\n");
            }
            if self.properties.is_empty() {
                for (key, value) in &all {
                    out(&format!("{key}={value}\n"));
                }
            }
            for key in &self.properties {
                let value = all.get(key).map_or("", String::as_str);
                out(&if self.value_only { format!("{value}\n") } else { format!("{key}={value}\n") });
            }
        }
        Ok(0)
    }

    pub(super) fn cat(&self) -> Result<u8, ClientError> {
        let mut client = self.connect()?;
        for unit in &self.units {
            let answer = client.call(Method::Cat { unit: unit.clone() })?;
            for (index, file) in answer.files.unwrap_or_default().into_iter().enumerate() {
                let gap = if index > 0 { "\n" } else { "" };
                out(&format!("{gap}# {}\n{}", file.path, file.text));
            }
        }
        Ok(0)
    }
}

/// How long ago a moment was, roughly.
pub(super) fn ago(micros: u64) -> String {
    let past = std::time::Duration::from_micros(crate::clock::wall_clock().saturating_sub(micros));
    unit_file::format_relative(past)
}
