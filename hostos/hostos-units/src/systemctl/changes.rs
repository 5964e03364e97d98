//! Verbs that change something.

use units_api::{ClientError, InstallRequest, JobMode, JobRequest, Method, ShutdownAction};

use super::{Call, err, out};

impl Call {
    pub(super) fn jobs(&self, verb: &str) -> Result<u8, ClientError> {
        if self.units.is_empty() {
            err("Too few arguments.");
            return Ok(1);
        }
        let mut client = self.connect()?;
        let mut code = 0;
        // One by one, so that one that is refused does not hold up the others.
        for unit in &self.units {
            let mode = if verb == "isolate" { JobMode::Isolate } else { self.mode };
            let request = JobRequest { units: vec![unit.clone()], mode, wait: !self.no_block };
            let method = match verb {
                "start" | "isolate" => Method::Start(request),
                "stop" => Method::Stop(request),
                "restart" => Method::Restart(request),
                "try-restart" | "condrestart" | "reload-or-try-restart" => Method::TryRestart(request),
                "reload" => Method::Reload(request),
                _ => Method::ReloadOrRestart(request),
            };
            match client.call(method) {
                Ok(answer) => {
                    for job in answer.jobs.unwrap_or_default() {
                        code = code.max(self.report(&job.unit, &job.result));
                    }
                }
                Err(ClientError::Refused(error)) => {
                    err(&format!("Failed to {verb} {unit}: {error}"));
                    code = code.max(match error.kind {
                        units_api::ErrorKind::NotFound => 5,
                        units_api::ErrorKind::NotApplicable if verb == "reload" => 3,
                        units_api::ErrorKind::AccessDenied => 4,
                        _ => 1,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(code)
    }

    fn report(&self, unit: &str, result: &str) -> u8 {
        let message = match result {
            "" | "done" | "skipped" => return 0,
            "failed" => format!(
                "Job for {unit} failed.\nSee \"systemctl status {unit}\" and \"journalctl -u {unit}\" for details."
            ),
            "dependency" => format!("A dependency job for {unit} failed. See \"journalctl\" for details."),
            "timeout" => format!("Job for {unit} timed out."),
            "canceled" => format!("Job for {unit} canceled."),
            "assert" => format!("Assertion failed on job for {unit}."),
            "invalid" => format!("{unit} is not active, cannot reload."),
            other => format!("Job for {unit} ended: {other}."),
        };
        if !self.quiet {
            err(&message);
        }
        1
    }

    pub(super) fn install(&self, verb: &str) -> Result<u8, ClientError> {
        if self.units.is_empty() {
            err("Too few arguments.");
            return Ok(1);
        }
        let mut client = self.connect()?;
        let request = InstallRequest { units: self.units.clone(), runtime: self.runtime };
        let methods = match verb {
            "enable" | "preset" => vec![Method::Enable(request)],
            "disable" => vec![Method::Disable(request)],
            "reenable" => vec![Method::Disable(request.clone()), Method::Enable(request)],
            "mask" => vec![Method::Mask(request)],
            _ => vec![Method::Unmask(request)],
        };
        for method in methods {
            for change in client.call(method)?.changes.unwrap_or_default() {
                if !self.quiet {
                    err(&change);
                }
            }
        }
        if !self.now {
            return Ok(0);
        }
        match verb {
            "enable" => self.jobs("start"),
            "disable" | "mask" => self.jobs("stop"),
            _ => Ok(0),
        }
    }

    pub(super) fn environment(&self, verb: &str) -> Result<u8, ClientError> {
        let mut set = std::collections::BTreeMap::new();
        let mut unset = Vec::new();
        for word in &self.units {
            match (verb, word.split_once('=')) {
                ("set-environment", Some((name, value))) => {
                    drop(set.insert(name.to_owned(), value.to_owned()))
                }
                ("import-environment", _) => {
                    if let Ok(value) = std::env::var(word) {
                        set.insert(word.clone(), value);
                    }
                }
                _ => unset.push(word.clone()),
            }
        }
        self.simple(Method::SetEnvironment { set, unset })
    }

    pub(super) fn show_environment(&self) -> Result<u8, ClientError> {
        let answer = self.connect()?.call(Method::ShowEnvironment)?;
        for (name, value) in answer.properties.unwrap_or_default() {
            out(&format!("{name}={value}\n"));
        }
        Ok(0)
    }

    pub(super) fn shutdown(&self, verb: &str) -> Result<u8, ClientError> {
        let action = match verb {
            "reboot" => ShutdownAction::Reboot,
            "halt" => ShutdownAction::Halt,
            "kexec" => ShutdownAction::Kexec,
            "exit" => ShutdownAction::Exit,
            _ => ShutdownAction::Poweroff,
        };
        self.simple(Method::Shutdown { action, reason: format!("systemctl {verb}") })
    }
}
