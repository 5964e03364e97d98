//! `none`: an engine somewhere, known by its URL alone. It is always taken to run.

use std::time::Duration;

use machine_core::driver::{Driver, DriverError, ErrorKind, Event, Place, Session, SshEndpoint};
use machine_types::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An engine known by its URL.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NoneDriver {
    /// Its URL.
    #[serde(rename = "URL")]
    url: String,
}

impl NoneDriver {
    /// Name of the driver, as after `-d`.
    pub const NAME: &'static str = "none";

    /// A machine with this URL.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned() }
    }

    /// A driver for what `config.json` keeps.
    pub fn load(data: Value) -> Result<Self, DriverError> {
        serde_json::from_value(data)
            .map_err(|error| DriverError::failed("config.json does not describe a URL").source(error))
    }

    fn host_and_port(&self) -> Option<&str> {
        let rest = self.url.split_once("://")?.1;
        let end = rest.find('/').unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    }
}

fn cannot(verb: &str) -> DriverError {
    DriverError::new(ErrorKind::Unsupported, format!("hosts without a driver cannot be {verb}"))
}

impl Driver for NoneDriver {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn data(&self) -> Value {
        serde_json::to_value(self).expect("a URL is plain JSON")
    }

    fn check(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        if self.url.is_empty() {
            return Err(DriverError::check("--url option is required when no driver is selected"));
        }
        if self.host_and_port().is_none() {
            // docker-machine takes any word, and scripts give it some to have an entry in the list.
            session.observer.notice(Event::Warning(format!(
                "no client can use `{}`: a URL is like tcp://192.0.2.1:2376",
                self.url
            )));
        }
        Ok(())
    }

    fn create(&mut self, _session: &Session<'_>, _ignition: &[u8]) -> Result<(), DriverError> {
        Ok(())
    }

    fn start(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        Err(cannot("started"))
    }

    fn wait_ready(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        Ok(())
    }

    fn stop(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        Err(cannot("stopped"))
    }

    fn kill(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        Err(cannot("killed"))
    }

    fn restart(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        Err(cannot("restarted"))
    }

    fn remove(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        Ok(())
    }

    fn state(&self, _place: &Place, _limit: Duration) -> Result<State, DriverError> {
        Ok(State::Running)
    }

    fn address(&self) -> Option<String> {
        self.host_and_port().map(str::to_owned)
    }

    fn engine_url(&self) -> Option<String> {
        Some(self.url.clone())
    }

    fn ssh(&self) -> Option<SshEndpoint> {
        None
    }

    fn certificate_names(&self) -> Vec<String> {
        let Some(host) = self.host_and_port() else { return Vec::new() };
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        vec![host.trim_matches(['[', ']']).to_owned()]
    }

    fn has_own_engine(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use machine_core::contract::{Subject, check};

    use super::*;

    #[test]
    fn it_keeps_the_contract() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = Place {
            store: dir.path().to_owned(),
            dir: dir.path().to_owned(),
            name: "m".parse().expect("a name"),
            id: uuid::Uuid::from_u128(1),
        };
        check(&Subject {
            place: &place,
            new: &|| Box::new(NoneDriver::new("tcp://192.0.2.1:2376")),
            load: &|data| Ok(Box::new(NoneDriver::load(data)?)),
            ignition: b"{}",
            ready_limit: Duration::from_secs(1),
        });
    }

    #[test]
    fn an_address_is_what_stands_in_the_url() {
        let driver = NoneDriver::new("tcp://[2001:db8::1]:2376/");
        assert_eq!(driver.address().as_deref(), Some("[2001:db8::1]:2376"));
        assert_eq!(driver.certificate_names(), ["2001:db8::1"]);
        assert_eq!(NoneDriver::new("nowhere").address(), None);
    }
}
