//! What a person sees while something takes its time, on stderr.

use std::time::Instant;

use machine_core::driver::{Event, Observer};
use machine_types::MachineName;

/// Prints events with the machine's name and the time since it began.
pub(crate) struct Printer {
    name: MachineName,
    start: Instant,
}

impl Printer {
    pub(crate) fn new(name: &MachineName) -> Self {
        Self { name: name.clone(), start: Instant::now() }
    }

    pub(crate) fn step(&self, text: &str) {
        eprintln!("({}) {:6.2} s  {text}", self.name, self.start.elapsed().as_secs_f64());
    }
}

impl Observer for Printer {
    fn notice(&self, event: Event) {
        match event {
            Event::Step(text) => self.step(&text),
            Event::Stage { stage, uptime_ms, detail } => {
                let stage = format!("{stage:?}").to_lowercase();
                let detail = if detail.is_empty() { String::new() } else { format!("  {detail}") };
                self.step(&format!("  {stage:<9} {:6.2} s{detail}", uptime_ms as f64 / 1000.0));
            }
            Event::Warning(text) => self.step(&format!("warning: {text}")),
        }
    }
}

/// For commands that say nothing.
pub(crate) struct Silent;

impl Observer for Silent {
    fn notice(&self, _event: Event) {}
}
