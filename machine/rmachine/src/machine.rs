//! A machine of the store together with its driver.

use std::time::Duration;

use machine_core::driver::{Driver, DriverError, Observer, Place, Session};
use machine_driver_digitalocean::DigitalOceanDriver;
use machine_driver_generic::{GenericDriver, NoneDriver};
use machine_driver_qemu::QemuDriver;
use machine_types::{MachineName, Record, State};

use crate::context::Context;
use crate::failure::Failure;

/// The machine that commands mean when no name is given.
const DEFAULT: &str = "default";
/// What a command allows a start, unless it has a flag for it.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(120);

/// A machine of the store together with its driver.
pub(crate) struct Machine {
    pub(crate) record: Record,
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) place: Place,
}

impl Machine {
    pub(crate) fn load(context: &Context, name: &MachineName) -> Result<Self, Failure> {
        Self::of(context, context.store.load(name)?)
    }

    pub(crate) fn of(context: &Context, record: Record) -> Result<Self, Failure> {
        let driver = load_driver(&record)?;
        let place = Place {
            store: context.store.root().to_owned(),
            dir: context.store.machine(&record.name),
            name: record.name.clone(),
            id: record.id,
        };
        Ok(Self { record, driver, place })
    }

    /// Calls the driver, and keeps what it changed of itself, whether it succeeded or not.
    pub(crate) fn drive(
        &mut self,
        context: &Context,
        observer: &dyn Observer,
        ready_limit: Duration,
        call: impl FnOnce(&mut dyn Driver, &Session<'_>) -> Result<(), DriverError>,
    ) -> Result<(), Failure> {
        let session = Session { place: &self.place, observer, cancel: context.cancel(), ready_limit };
        let result = call(self.driver.as_mut(), &session);
        let data = self.driver.data();
        if data != self.record.driver {
            self.record.driver = data;
            context.store.save(&self.record)?;
        }
        Ok(result?)
    }

    pub(crate) fn state(&self, limit: Duration) -> Result<State, Failure> {
        let state = self.driver.state(&self.place, limit)?;
        // Off and never finished: nothing of it is any use until create or rm has been here again.
        if !self.record.is_complete() && state == State::Stopped {
            return Ok(State::Error);
        }
        Ok(state)
    }

    /// The URL of its engine while it runs.
    pub(crate) fn url(&self) -> Result<String, Failure> {
        match self.state(Duration::from_secs(5))? {
            State::Running | State::Starting => {}
            _ => {
                let hint = format!("start it with `rmachine start {}`", self.record.name);
                return Err(Failure::elder("Host is not running").hint(hint));
            }
        }
        self.driver
            .engine_url()
            .ok_or_else(|| Failure::new(format!("machine `{}` has no engine yet", self.record.name)))
    }
}

fn load_driver(record: &Record) -> Result<Box<dyn Driver>, Failure> {
    let data = record.driver.clone();
    Ok(match record.driver_name.as_str() {
        machine_driver_qemu::NAME => Box::new(QemuDriver::load(data)?),
        NoneDriver::NAME => Box::new(NoneDriver::load(data)?),
        GenericDriver::NAME => Box::new(GenericDriver::load(data)?),
        machine_driver_digitalocean::NAME => Box::new(DigitalOceanDriver::load(data)?),
        other => return Err(Failure::new(format!("this rmachine has no driver `{other}`"))),
    })
}

/// A word of the command line as the name of a machine that may be there.
pub(crate) fn known(word: &str) -> Result<MachineName, Failure> {
    // No machine can have such a name, so there is none.
    word.parse().map_err(|_| machine_store::StoreError::NoMachine(word.to_owned()).into())
}

/// The names given, or the default machine if there is one.
pub(crate) fn names_or_default(context: &Context, names: &[String]) -> Result<Vec<MachineName>, Failure> {
    if !names.is_empty() {
        return names.iter().map(|name| known(name)).collect();
    }
    let default: MachineName = DEFAULT.parse().expect("it is a name");
    if context.store.exists(&default) {
        Ok(vec![default])
    } else {
        Err(Failure::elder("Error: No machine name(s) specified and no \"default\" machine exists")
            .hint("see the names with `rmachine ls`"))
    }
}

/// The name given, or the default machine if there is one.
pub(crate) fn name_or_default(context: &Context, name: Option<&String>) -> Result<MachineName, Failure> {
    Ok(names_or_default(context, name.map_or(&[], std::slice::from_ref))?.remove(0))
}
