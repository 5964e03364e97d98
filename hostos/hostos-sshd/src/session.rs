//! One client's connection: who it is, and what it asks for on each channel.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use russh::keys::ssh_key::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tokio::sync::{Notify, mpsc};
use tracing::{info, warn};

use crate::accounts::{self, Account};
use crate::child::{self, Control, Task};
use crate::options::Options;
use crate::terminal::Size;
use crate::{forward, keys};

/// Sessions and forwarded connections of one client at a time.
const CHANNELS: usize = 64;

/// Names of variables that a client may set: how to talk to it, and nothing that changes programs.
fn may_set(name: &str) -> bool {
    matches!(name, "LANG" | "COLORTERM" | "NO_COLOR" | "TZ") || name.starts_with("LC_")
}

pub(crate) struct Connection {
    options: Arc<Options>,
    peer: SocketAddr,
    account: Option<Arc<Account>>,
    logged_in: Arc<Notify>,
    sessions: HashMap<ChannelId, Pending>,
}

/// A session channel: first it is described, then it runs.
struct Pending {
    channel: Option<Channel<Msg>>,
    environment: Vec<(String, String)>,
    terminal: Option<(String, Size)>,
    control: Option<mpsc::Sender<Control>>,
}

impl Connection {
    pub(crate) fn new(options: Arc<Options>, peer: SocketAddr, logged_in: Arc<Notify>) -> Self {
        Self { options, peer, account: None, logged_in, sessions: HashMap::new() }
    }

    fn check(&self, user: &str, key: &PublicKey) -> Option<Account> {
        let account = accounts::find(&self.options.accounts, user)?;
        keys::authorized(&account.home, key).then_some(account)
    }

    /// Runs `task` on the channel, which must have been opened and not run yet.
    fn start(&mut self, id: ChannelId, task: Task, session: &mut Session) -> Result<(), russh::Error> {
        let account = self.account.clone();
        let pending = self.sessions.get_mut(&id);
        let (Some(account), Some(pending)) = (account, pending) else { return session.channel_failure(id) };
        let Some(channel) = pending.channel.take() else { return session.channel_failure(id) };
        let (control, orders) = mpsc::channel(16);
        let terminal = match task {
            Task::Sftp => None,
            Task::Shell | Task::Command(_) => pending.terminal.take(),
        };
        let request = child::Request {
            account,
            task,
            environment: std::mem::take(&mut pending.environment),
            terminal,
            peer: self.peer,
            sftp_server: self.options.sftp_server.clone(),
        };
        match child::spawn(&request) {
            Ok(child) => {
                pending.control = Some(control);
                session.channel_success(id)?;
                tokio::spawn(child.serve(channel, orders, session.handle()));
                Ok(())
            }
            Err(error) => {
                warn!(user = request.account.name, %error, "program not started");
                session.channel_failure(id)
            }
        }
    }

    fn order(&self, id: ChannelId, order: Control) {
        if let Some(control) = self.sessions.get(&id).and_then(|pending| pending.control.as_ref()) {
            // A client that sends more orders than a program takes loses some: none is worth waiting for.
            let _ = control.try_send(order);
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        key: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(if self.check(user, key.public_key).is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        match self.check(user, key.public_key) {
            Some(account) => {
                info!(user, peer = %self.peer, "logged in");
                self.account = Some(Arc::new(account));
                self.logged_in.notify_one();
                Ok(Auth::Accept)
            }
            None => Ok(Auth::reject()),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.sessions.len() >= CHANNELS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let pending = Pending { channel: None, environment: Vec::new(), terminal: None, control: None };
        self.sessions.insert(channel.id(), Pending { channel: Some(channel), ..pending });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        forward::tcp(channel, host.to_owned(), port, reply);
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.account.clone() {
            Some(account) => forward::unix(channel, path.to_owned(), account, reply),
            None => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.sessions.remove(&id);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.sessions.get_mut(&id) {
            Some(pending) if pending.channel.is_some() => {
                pending.terminal = Some((term.to_owned(), Size { columns, rows, width, height }));
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.sessions.get_mut(&id) {
            Some(pending) if may_set(name) && pending.environment.len() < 64 => {
                pending.environment.push((name.to_owned(), value.to_owned()));
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start(id, Task::Shell, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(id, Task::Command(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name == "sftp" { self.start(id, Task::Sftp, session) } else { session.channel_failure(id) }
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.order(id, Control::Resize(Size { columns, rows, width, height }));
        Ok(())
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.order(id, Control::Signal(signal));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_change_how_programs_load() {
        assert!(may_set("LC_ALL"));
        assert!(!may_set("LD_PRELOAD"));
        assert!(!may_set("PATH"));
    }
}
