//! How a boot is going, told from the lines a machine reports. A machine that restarts reports from
//! the beginning again; only the last boot counts.

use std::net::IpAddr;

use hostos_api::{Failure, Report, Stage};

use crate::driver::Event;

/// Where the last boot stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was heard yet.
    #[default]
    Silent,
    /// On the way; the last stage that is done.
    Booting(Stage),
    /// Everything its config declares is up.
    Ready {
        /// Version of the image.
        version: String,
        /// Milliseconds since the kernel started.
        uptime_ms: u64,
        /// Addresses of the machine.
        addresses: Vec<IpAddr>,
    },
    /// It will not get ready, in its own words.
    Failed(Failure),
    /// It wants to be started again, with these words on the kernel's command line and without those.
    Restarting {
        /// What must be there.
        should_exist: Vec<String>,
        /// What must not.
        should_not_exist: Vec<String>,
    },
    /// It is going down in an orderly way.
    Stopping(String),
}

/// Reads reports as they come, in whatever pieces.
#[derive(Debug, Default)]
pub struct BootWatch {
    partial: Vec<u8>,
    phase: Phase,
    stages: Vec<(Stage, u64)>,
    warnings: Vec<String>,
}

impl BootWatch {
    /// Takes the next bytes of the port and returns what is worth showing.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.partial.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            if let Some(report) = Report::from_line(&String::from_utf8_lossy(&line)) {
                events.extend(self.take(report));
            }
        }
        // A line this long is no report; forget it rather than grow.
        if self.partial.len() > 1 << 20 {
            self.partial.clear();
        }
        events
    }

    /// Where the last boot stands.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The stages that are done, each with milliseconds since the kernel started.
    #[must_use]
    pub fn stages(&self) -> &[(Stage, u64)] {
        &self.stages
    }

    /// What went wrong in the last boot without ending it.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn take(&mut self, report: Report) -> Option<Event> {
        match report {
            Report::Stage { stage, uptime_ms, detail } => {
                if stage == Stage::Init {
                    self.warnings.clear();
                    self.stages.clear();
                }
                self.stages.push((stage, uptime_ms));
                // Units that are restarted report their stage again; that does not unmake ready.
                if stage == Stage::Init || !matches!(self.phase, Phase::Ready { .. } | Phase::Failed(_)) {
                    self.phase = Phase::Booting(stage);
                }
                Some(Event::Stage { stage, uptime_ms, detail })
            }
            Report::Ready { uptime_ms, version, addresses } => {
                self.phase = Phase::Ready { version, uptime_ms, addresses };
                None
            }
            Report::Failed(failure) => {
                self.phase = Phase::Failed(failure);
                None
            }
            Report::Warning { message } => {
                self.warnings.push(message.clone());
                Some(Event::Warning(message))
            }
            Report::Restart { should_exist, should_not_exist } => {
                self.phase = Phase::Restarting { should_exist, should_not_exist };
                None
            }
            Report::Stopping { reason } => {
                self.phase = Phase::Stopping(reason);
                None
            }
        }
    }
}

/// The lines of a serial log that a person needs to see: the last `count` that say something,
/// without the colours and cursor movements that firmware and shells send.
#[must_use]
pub fn last_lines(serial: &[u8], count: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(serial);
    let lines: Vec<String> =
        text.lines().map(|line| plain(line).trim_end().to_owned()).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

/// The sentence of the kernel when it panics, if it did.
#[must_use]
pub fn panic_sentence(serial: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(serial);
    text.lines().find_map(|line| {
        let at = line.find("Kernel panic - not syncing")?;
        Some(plain(&line[at..]).trim().to_owned())
    })
}

fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            } else {
                chars.next();
            }
        } else if c == '\t' || !c.is_control() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(stage: Stage) -> Vec<u8> {
        Report::Stage { stage, uptime_ms: 1, detail: String::new() }.to_line().into_bytes()
    }

    fn ready() -> Vec<u8> {
        Report::Ready { uptime_ms: 2, version: "1.0.0".into(), addresses: vec![] }.to_line().into_bytes()
    }

    #[test]
    fn reports_arrive_in_pieces_and_between_noise() {
        let mut watch = BootWatch::default();
        let line = stage(Stage::Network);
        assert!(watch.feed(b"what is this\n\xff\xfe\n").is_empty());
        assert!(watch.feed(&line[..10]).is_empty());
        assert_eq!(watch.feed(&line[10..]).len(), 1);
        assert_eq!(*watch.phase(), Phase::Booting(Stage::Network));
    }

    #[test]
    fn a_second_boot_starts_over_but_a_restarted_unit_does_not() {
        let mut watch = BootWatch::default();
        watch.feed(&ready());
        watch.feed(&stage(Stage::Engine));
        assert!(matches!(watch.phase(), Phase::Ready { .. }));
        watch.feed(&stage(Stage::Init));
        assert_eq!(*watch.phase(), Phase::Booting(Stage::Init));
    }

    #[test]
    fn a_failure_is_kept_in_the_machines_own_words() {
        let mut watch = BootWatch::default();
        let failure = Failure { stage: Stage::Ignition, message: "line 3: no".into(), hint: "fix it".into() };
        watch.feed(Report::Failed(failure.clone()).to_line().as_bytes());
        watch.feed(&stage(Stage::Ssh));
        assert_eq!(*watch.phase(), Phase::Failed(failure));
    }

    #[test]
    fn the_tail_of_a_serial_log_is_readable() {
        let log = b"\x1b[2J\x1b[1;1Hboot\r\n\r\n[    1.0] Kernel panic - not syncing: VFS\r\n---[ end\r\n";
        assert_eq!(last_lines(log, 2), ["[    1.0] Kernel panic - not syncing: VFS", "---[ end"]);
        assert_eq!(last_lines(log, 9)[0], "boot");
        assert_eq!(panic_sentence(log).as_deref(), Some("Kernel panic - not syncing: VFS"));
        assert_eq!(panic_sentence(b"all well"), None);
    }
}
