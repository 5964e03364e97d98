//! One ssh session to a host, for short commands, as the user or as root.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use machine_core::driver::{DriverError, Place};
use machine_ssh::{HostKey, Session, Target};
use machine_store::{write_atomic, write_unsynced};
use tokio::runtime::{Builder, Runtime};

const CONNECT: Duration = Duration::from_secs(20);
const COMMAND: Duration = Duration::from_secs(120);

/// A logged-in session.
pub(crate) struct Shell {
    runtime: Runtime,
    session: Session,
    is_root: bool,
}

impl Shell {
    /// Logs in. The first time, the host's key is believed and pinned.
    pub(crate) fn connect(place: &Place, address: SocketAddr, user: &str) -> Result<Self, DriverError> {
        let failed = |what: &str| {
            let message = format!("{what} for the host at {address}");
            move |error: std::io::Error| DriverError::failed(message).source(error)
        };
        let key = fs::read_to_string(place.dir.join("id_ed25519")).map_err(failed("no ssh key"))?;
        let known_hosts = place.dir.join("known_hosts");
        let pinned =
            fs::read_to_string(&known_hosts).ok().and_then(|text| HostKey::from_known_hosts(&text).ok());
        let target = Target {
            address,
            user: user.to_owned(),
            private_key: key,
            host_key: pinned.clone(),
            limit: CONNECT,
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed("no runtime"))?;
        let session = runtime.block_on(Session::connect(&target)).map_err(|error| {
            DriverError::failed(format!("could not log in at {address}"))
                .source(error)
                .hint("check `--generic-ssh-user`, `--generic-ssh-port` and `--generic-ssh-key`")
        })?;
        if let (None, Some(key)) = (pinned, session.host_key()) {
            pin(&known_hosts, &key, address)?;
        }
        Ok(Self { runtime, session, is_root: user == "root" })
    }

    /// What a command prints; an error holds what it complained of.
    pub(crate) fn run(&self, command: &str) -> Result<String, DriverError> {
        self.run_with(command, &[])
    }

    /// As root.
    pub(crate) fn root(&self, command: &str) -> Result<String, DriverError> {
        self.root_with(command, &[])
    }

    /// As root, with this input.
    pub(crate) fn root_with(&self, command: &str, input: &[u8]) -> Result<String, DriverError> {
        if self.is_root {
            return self.run_with(command, input);
        }
        self.run_with(&format!("sudo -n sh -c {}", quote(command)), input)
    }

    fn run_with(&self, command: &str, input: &[u8]) -> Result<String, DriverError> {
        let work = self.session.output_with_input(command, input);
        let late = || DriverError::failed(format!("`{command}` took more than {} s", COMMAND.as_secs()));
        let outcome = self.runtime.block_on(async { tokio::time::timeout(COMMAND, work).await });
        let (exit, output, errors) = outcome
            .map_err(|_| late())?
            .map_err(|error| DriverError::failed("the ssh session broke").source(error))?;
        if exit.code() == 0 {
            return Ok(String::from_utf8_lossy(&output).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&errors).trim().to_owned();
        Err(DriverError::failed(format!("`{command}` failed on the host: {said}")))
    }
}

fn pin(path: &std::path::Path, key: &HostKey, address: SocketAddr) -> Result<(), DriverError> {
    let name = if address.port() == 22 {
        address.ip().to_string()
    } else {
        format!("[{}]:{}", address.ip(), address.port())
    };
    let line = key
        .to_known_hosts(&[name])
        .map_err(|error| DriverError::failed("could not pin the ssh host key").source(error))?;
    // Durable: a key that is believed once must not be believed again.
    let write = if path.exists() { write_unsynced } else { write_atomic };
    write(path, line.as_bytes(), 0o600)
        .map_err(|error| DriverError::failed("could not pin the ssh host key").source(error))
}

/// One word for a POSIX shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_word() {
        assert_eq!(quote("it's $HOME"), "'it'\\''s $HOME'");
    }
}
