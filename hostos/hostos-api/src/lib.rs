//! What a machine says to the one who made it: one JSON object a line on the virtio-serial port
//! [`PORT_NAME`], written by `hostos-init`, read by `rmachine`.
//!
//! The port is one way for now. A reader skips lines it does not understand, so a newer machine can
//! tell an older `rmachine` more than it knows. Nothing secret ever travels here.

pub mod manifest;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The name of the virtio-serial port, as in `/sys/class/virtio-ports/*/name`.
pub const PORT_NAME: &str = "org.rmachine.agent.0";

/// Where QEMU's fw_cfg holds the Ignition config.
pub const FW_CFG_CONFIG: &str = "opt/com.coreos/config";

/// The steps from power on to ready, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// PID 1 runs: early mounts are made.
    Init,
    /// The kernel modules that every machine needs are loaded.
    Modules,
    /// The state disk is found (made, grown) and mounted, or its absence is noted.
    State,
    /// The network interface has an address.
    Network,
    /// The Ignition config is fetched, validated and applied; before the network if nothing of it has to
    /// be fetched.
    Ignition,
    /// The default target's units are queued.
    Units,
    /// The engine answers on its socket.
    Engine,
    /// The ssh server listens.
    Ssh,
    /// The key-value store serves.
    Kv,
    /// The fleet agent serves.
    Fleet,
}

/// One line on the port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Report {
    /// A stage is done.
    Stage {
        /// Which.
        stage: Stage,
        /// Milliseconds since the kernel started, by the guest's clock.
        uptime_ms: u64,
        /// What a person may want to know of it, or empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// Everything the config declares is up.
    Ready {
        /// Milliseconds since the kernel started, by the guest's clock.
        uptime_ms: u64,
        /// Version of the image.
        version: String,
        /// Addresses of the machine, loopback left out.
        addresses: Vec<IpAddr>,
    },
    /// The machine will not get ready; it halts or waits for a new config.
    Failed(Failure),
    /// Something is wrong, and the machine goes on without it.
    Warning {
        /// One sentence.
        message: String,
    },
    /// The kernel must be started with other arguments than it was: the machine restarts now, and whoever
    /// starts it gives it these. It asks once; nothing of its config is applied before.
    Restart {
        /// Words that the command line must have.
        should_exist: Vec<String>,
        /// Words that it must not have.
        should_not_exist: Vec<String>,
    },
    /// The machine is going down in an orderly way.
    Stopping {
        /// Who asked: `power button`, `systemctl poweroff`, …
        reason: String,
    },
}

/// Why a machine will not get ready, in the words that the console shows too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The stage that failed.
    pub stage: Stage,
    /// What happened to what, in one sentence, with file, line and column where there is one.
    pub message: String,
    /// What to do next, in one sentence, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Report {
    /// The line to write, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("a report has only strings and numbers");
        line.push('\n');
        line
    }

    /// The report of a line, or nothing if this reader does not know it.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_wire_on_one_line() {
        let report = Report::Failed(Failure {
            stage: Stage::Ignition,
            message: "config.ign:3:7: expected `,`\nor `}`".into(),
            hint: String::new(),
        });
        let line = report.to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(Report::from_line(&line), Some(report));
    }

    #[test]
    fn a_line_from_the_future_is_skipped() {
        assert_eq!(Report::from_line(r#"{"type":"telepathy","thought":1}"#), None);
        assert_eq!(Report::from_line(""), None);
    }

    #[test]
    fn the_shapes_on_the_wire_stay() {
        let stage = Report::Stage { stage: Stage::Engine, uptime_ms: 7, detail: String::new() };
        assert_eq!(stage.to_line(), "{\"type\":\"stage\",\"stage\":\"engine\",\"uptime_ms\":7}\n");
    }
}
