//! `generic`: a Linux host that exists already, reached over ssh. It is checked, gets our engine as a
//! systemd unit, and is secured; turning it on and off is its owner's business.

mod install;
mod shell;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use machine_core::driver::{Driver, DriverError, ErrorKind, Event, Place, Session, SshEndpoint};
use machine_types::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::shell::Shell;

/// As docker-machine: how long its ssh port may take to answer.
const DIAL: Duration = Duration::from_secs(15);
/// For a host to come back after a restart.
const RESTART: Duration = Duration::from_secs(300);

/// A host that exists already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GenericDriver {
    /// Where it is.
    #[serde(rename = "IPAddress")]
    pub ip_address: IpAddr,
    /// Its name here.
    pub machine_name: String,
    /// User to log in as; root, or one who may `sudo` without a password.
    #[serde(rename = "SSHUser")]
    pub ssh_user: String,
    /// Port of its ssh server.
    #[serde(rename = "SSHPort")]
    pub ssh_port: u16,
    /// Private key, relative to the store.
    #[serde(rename = "SSHKeyPath")]
    pub ssh_key_path: String,
    /// Port of the engine there.
    pub engine_port: u16,
    /// The static program that holds our daemons, on this workstation; not kept.
    #[serde(skip)]
    pub program: Option<PathBuf>,
}

impl GenericDriver {
    /// Name of the driver, as after `-d`.
    pub const NAME: &'static str = "generic";

    /// A driver for what `config.json` keeps.
    pub fn load(data: Value) -> Result<Self, DriverError> {
        serde_json::from_value(data)
            .map_err(|error| DriverError::failed("config.json does not describe a host").source(error))
    }

    fn address_of_ssh(&self) -> SocketAddr {
        SocketAddr::new(self.ip_address, self.ssh_port)
    }

    fn shell(&self, place: &Place) -> Result<Shell, DriverError> {
        Shell::connect(place, self.address_of_ssh(), &self.ssh_user)
    }

    fn cannot(&self, verb: &str) -> DriverError {
        DriverError::new(
            ErrorKind::Unsupported,
            format!("the driver `generic` cannot {verb} `{}`: it is a host of its own", self.machine_name),
        )
    }
}

impl Driver for GenericDriver {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn data(&self) -> Value {
        serde_json::to_value(self).expect("an address is plain JSON")
    }

    fn check(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        TcpStream::connect_timeout(&self.address_of_ssh(), DIAL).map(drop).map_err(|error| {
            DriverError::check(format!("nothing answers at {}", self.address_of_ssh()))
                .source(error)
                .hint("check `--generic-ip-address` and `--generic-ssh-port`")
        })
    }

    fn create(&mut self, session: &Session<'_>, ignition: &[u8]) -> Result<(), DriverError> {
        let shell = self.shell(session.place)?;
        let facts = install::inspect(&shell)?;
        session.observer.notice(Event::Step(format!("found {}", facts.system)));
        session.cancel.check()?;
        install::install(&shell, self.program.as_deref(), ignition, session)
    }

    fn start(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        match self.state(session.place, DIAL)? {
            State::Running => Ok(()),
            _ => Err(self.cannot("start")),
        }
    }

    fn wait_ready(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        let deadline = Instant::now() + session.ready_limit;
        loop {
            session.cancel.check()?;
            match self.shell(session.place).and_then(|shell| install::is_active(&shell)) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(error) => tracing::debug!(%error, "not ready yet"),
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn stop(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        Err(self.cannot("stop"))
    }

    fn kill(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        Err(self.cannot("kill"))
    }

    fn restart(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        let boot = |shell: &Shell| shell.run("cat /proc/sys/kernel/random/boot_id");
        let shell = self.shell(session.place)?;
        let before = boot(&shell)?;
        // The connection may be gone before the answer comes.
        let _ = shell.root("shutdown -r now");
        let deadline = Instant::now() + RESTART;
        while Instant::now() < deadline {
            session.cancel.check()?;
            thread::sleep(Duration::from_secs(1));
            if self.shell(session.place).and_then(|shell| boot(&shell)).is_ok_and(|now| now != before) {
                return Ok(());
            }
        }
        Err(DriverError::new(
            ErrorKind::TimedOut,
            format!("`{}` did not come back within {} s", self.machine_name, RESTART.as_secs()),
        ))
    }

    fn remove(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        // As docker-machine: the host goes on as it is, it is only forgotten.
        Ok(())
    }

    fn state(&self, _place: &Place, limit: Duration) -> Result<State, DriverError> {
        match TcpStream::connect_timeout(&self.address_of_ssh(), limit.min(DIAL)) {
            Ok(_) => Ok(State::Running),
            Err(_) => Ok(State::Stopped),
        }
    }

    fn address(&self) -> Option<String> {
        Some(self.ip_address.to_string())
    }

    fn engine_url(&self) -> Option<String> {
        Some(format!("tcp://{}", SocketAddr::new(self.ip_address, self.engine_port)))
    }

    fn ssh(&self) -> Option<SshEndpoint> {
        Some(SshEndpoint {
            host: self.ip_address.to_string(),
            port: self.ssh_port,
            user: self.ssh_user.clone(),
        })
    }

    fn certificate_names(&self) -> Vec<String> {
        vec![self.ip_address.to_string(), "localhost".into()]
    }

    fn has_own_ssh(&self) -> bool {
        true
    }
}
