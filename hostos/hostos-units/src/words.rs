//! What the supervisor says: to the journal, and to the console if it matters.

use crate::clock::{Moment, wall_clock};
use crate::journal::{Entry, Transport};
use crate::supervisor::Supervisor;
use crate::unit::UnitId;

impl Supervisor {
    pub(crate) fn log_unit(&mut self, id: UnitId, priority: u8, message: &str) {
        let name = self.unit(id).name.to_string();
        let text = if message.starts_with(&name) { message.to_owned() } else { format!("{name}: {message}") };
        self.write_entry(priority, &name, "units", &text, 1);
    }

    pub(crate) fn warn_unit(&mut self, id: UnitId, message: &str) {
        self.log_unit(id, 4, message);
    }

    pub(crate) fn write_entry(
        &mut self,
        priority: u8,
        unit: &str,
        identifier: &str,
        message: &str,
        pid: u32,
    ) {
        tracing::debug!(unit, priority, message, "journal");
        let pid = if pid == 1 { std::process::id() } else { pid };
        if priority <= 4 {
            self.to_console(identifier, message);
        }
        self.journal.append(&Entry {
            realtime: wall_clock(),
            monotonic: Moment::now().0,
            priority,
            transport: Transport::Supervisor,
            pid,
            unit: unit.to_owned(),
            identifier: identifier.to_owned(),
            message: message.to_owned(),
        });
    }

    pub(crate) fn to_console(&self, identifier: &str, message: &str) {
        use std::io::Write as _;
        let Some(path) = &self.options.console else { return };
        if let Ok(mut console) = std::fs::OpenOptions::new().write(true).open(path) {
            let _ = console.write_all(format!("{identifier}: {message}\r\n").as_bytes());
        }
    }
}
