//! Verbs that list.

use units_api::{ClientError, Method, UnitState};

use super::{Call, out};
use crate::clock::wall_clock;
use crate::glob;
use crate::show::timestamp;

impl Call {
    /// Rows under a header, columns as wide as their longest cell.
    fn table(&self, header: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([header[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..header.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| {
                let missing = width.saturating_sub(cell.chars().count());
                format!("{cell}{}", " ".repeat(missing))
            });
            format!("{}\n", padded.collect::<Vec<_>>().join(" ").trim_end())
        };
        if !self.no_legend {
            out(&line(&header.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()));
        }
        for row in rows {
            out(&line(row));
        }
    }

    fn wanted(&self, state: &UnitState) -> bool {
        let kind = state.name.rsplit('.').next().unwrap_or_default();
        let by_kind = self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind);
        let by_state = self.states.is_empty()
            || self
                .states
                .iter()
                .any(|wanted| *wanted == state.active || *wanted == state.sub || *wanted == state.load);
        let by_name =
            self.units.is_empty() || self.units.iter().any(|pattern| glob::matches(pattern, &state.name));
        let interesting =
            self.all || !self.states.is_empty() || state.active != "inactive" || !state.job.is_empty();
        by_kind && by_state && by_name && interesting
    }

    pub(super) fn list_units(&self) -> Result<u8, ClientError> {
        let mut states = self.connect()?.list()?;
        states.retain(|state| self.wanted(state));
        states.sort_by(|a, b| a.name.cmp(&b.name));
        if self.json {
            let rows: Vec<_> = states
                .iter()
                .map(|s| serde_json::json!({"unit": s.name, "load": s.load, "active": s.active, "sub": s.sub, "description": s.description}))
                .collect();
            out(&format!("{}\n", serde_json::Value::from(rows)));
            return Ok(0);
        }
        let rows: Vec<_> = states
            .iter()
            .map(|state| {
                let mark = match (state.load.as_str(), state.active.as_str()) {
                    _ if self.plain => "",
                    ("loaded", "failed") | ("not-found" | "masked" | "bad-setting" | "error", _) => {
                        "\u{25cf} "
                    }
                    _ => "  ",
                };
                let cells = [&state.load, &state.active, &state.sub, &state.description];
                let mut row = vec![format!("{mark}{}", state.name)];
                row.extend(cells.into_iter().cloned());
                row
            })
            .collect();
        let unit = if self.plain { "UNIT" } else { "  UNIT" };
        self.table(&[unit, "LOAD", "ACTIVE", "SUB", "DESCRIPTION"], &rows);
        if !self.no_legend {
            out(&format!("\n{} loaded units listed.\n", rows.len()));
        }
        Ok(0)
    }

    pub(super) fn list_unit_files(&self) -> Result<u8, ClientError> {
        let files = self.connect()?.call(Method::ListFiles)?.unit_files.unwrap_or_default();
        let rows: Vec<_> = files
            .into_iter()
            .filter(|file| {
                let kind = file.name.rsplit('.').next().unwrap_or_default();
                (self.types.is_empty() || self.types.iter().any(|wanted| wanted == kind))
                    && (self.states.is_empty() || self.states.contains(&file.state))
                    && (self.units.is_empty()
                        || self.units.iter().any(|pattern| glob::matches(pattern, &file.name)))
            })
            .map(|file| {
                let preset = if file.preset.is_empty() { "-".into() } else { file.preset };
                vec![file.name, file.state, preset]
            })
            .collect();
        self.table(&["UNIT FILE", "STATE", "PRESET"], &rows);
        if !self.no_legend {
            out(&format!("\n{} unit files listed.\n", rows.len()));
        }
        Ok(0)
    }

    pub(super) fn list_timers(&self) -> Result<u8, ClientError> {
        let timers = self.connect()?.call(Method::ListTimers)?.timers.unwrap_or_default();
        let now = wall_clock();
        let span = |micros: u64| unit_file::format_relative(std::time::Duration::from_micros(micros));
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let rows: Vec<_> = timers
            .into_iter()
            .map(|timer| {
                let left = if timer.next == 0 {
                    "-".into()
                } else {
                    format!("{} left", span(timer.next.saturating_sub(now)))
                };
                let passed = if timer.last == 0 {
                    "-".into()
                } else {
                    format!("{} ago", span(now.saturating_sub(timer.last)))
                };
                vec![
                    or_dash(timestamp(timer.next)),
                    left,
                    or_dash(timestamp(timer.last)),
                    passed,
                    timer.unit,
                    timer.activates,
                ]
            })
            .collect();
        self.table(&["NEXT", "LEFT", "LAST", "PASSED", "UNIT", "ACTIVATES"], &rows);
        if !self.no_legend {
            out(&format!("\n{} timers listed.\n", rows.len()));
        }
        Ok(0)
    }

    pub(super) fn list_jobs(&self) -> Result<u8, ClientError> {
        let jobs = self.connect()?.call(Method::ListJobs)?.jobs.unwrap_or_default();
        if jobs.is_empty() {
            out("No jobs running.\n");
            return Ok(0);
        }
        let rows: Vec<_> =
            jobs.into_iter().map(|job| vec![job.job.to_string(), job.unit, job.kind, job.state]).collect();
        self.table(&["JOB", "UNIT", "TYPE", "STATE"], &rows);
        Ok(0)
    }

    pub(super) fn list_sockets(&self) -> Result<u8, ClientError> {
        let mut states = self.connect()?.list()?;
        states.retain(|state| state.name.ends_with(".socket"));
        let rows: Vec<_> =
            states.into_iter().map(|state| vec![state.name, state.active, state.sub]).collect();
        self.table(&["UNIT", "ACTIVE", "SUB"], &rows);
        Ok(0)
    }

    pub(super) fn list_dependencies(&self) -> Result<u8, ClientError> {
        let unit = self.units.first().cloned().unwrap_or_else(|| "default.target".into());
        let mut client = self.connect()?;
        let mut seen = Vec::new();
        let mut queue = vec![(0, unit)];
        while let Some((depth, unit)) = queue.pop() {
            out(&if depth == 0 {
                format!("{unit}\n")
            } else {
                format!("{}\u{2514}\u{2500}{unit}\n", "  ".repeat(depth))
            });
            if seen.contains(&unit) {
                continue;
            }
            let all = client.call(Method::Show { unit: unit.clone() })?.properties.unwrap_or_default();
            let keys = ["Requires", "Requisite", "Wants", "BindsTo"];
            let mut others: Vec<_> = keys
                .iter()
                .filter_map(|key| all.get(*key))
                .flat_map(|names| names.split(' ').map(str::to_owned).collect::<Vec<_>>())
                .collect();
            others.sort();
            others.dedup();
            queue.extend(others.into_iter().rev().map(|other| (depth + 1, other)));
            seen.push(unit);
        }
        Ok(0)
    }
}
