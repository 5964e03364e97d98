//! Connections that a client asks to have made from this machine.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::accounts::Account;

const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// To `host:port`, where a host is an address or a name of /etc/hosts.
pub(crate) fn tcp(channel: Channel<Msg>, host: String, port: u32, reply: ChannelOpenHandle) {
    tokio::spawn(async move {
        let target = address(&host).zip(u16::try_from(port).ok());
        let Some(target) = target else { return reply.reject(ChannelOpenFailure::ConnectFailed).await };
        join(channel, timeout(CONNECT_LIMIT, TcpStream::connect(target)).await, reply).await;
    });
}

/// To a socket that `account` may write to.
pub(crate) fn unix(channel: Channel<Msg>, path: String, account: Arc<Account>, reply: ChannelOpenHandle) {
    tokio::spawn(async move {
        if !may_write(Path::new(&path), &account) {
            return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        }
        join(channel, timeout(CONNECT_LIMIT, UnixStream::connect(&path)).await, reply).await;
    });
}

async fn join<S: AsyncRead + AsyncWrite + Unpin, E>(
    channel: Channel<Msg>,
    connected: Result<io::Result<S>, E>,
    reply: ChannelOpenHandle,
) {
    match connected {
        Ok(Ok(mut stream)) => {
            reply.accept().await;
            let _ = copy_bidirectional(&mut channel.into_stream(), &mut stream).await;
        }
        _ => reply.reject(ChannelOpenFailure::ConnectFailed).await,
    }
}

fn address(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    named(&hosts, host).or_else(|| (host == "localhost").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

fn named(hosts: &str, name: &str) -> Option<IpAddr> {
    hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word == name).then_some(address)
    })
}

/// The server connects as root, so it must ask itself what the kernel would have asked.
fn may_write(path: &Path, account: &Account) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let mut ancestors = path.ancestors();
    let Some(socket) = ancestors.next() else { return false };
    allowed(socket, account, 0o2) && ancestors.all(|dir| allowed(dir, account, 0o1))
}

fn allowed(path: &Path, account: &Account, bit: u32) -> bool {
    let Ok(meta) = fs::metadata(path) else { return false };
    let shift = if account.uid == meta.uid() {
        6
    } else if account.groups.contains(&meta.gid()) {
        3
    } else {
        0
    };
    account.uid == 0 || meta.mode() >> shift & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_hosts_file() {
        let hosts = "127.0.0.1 localhost me # x\n10.0.0.7 worker7\n";
        assert_eq!(named(hosts, "worker7"), Some("10.0.0.7".parse().unwrap()));
        assert_eq!(named(hosts, "x"), None);
    }

    #[test]
    fn an_account_reaches_only_what_it_may_write() {
        let dir = std::env::temp_dir().join(format!("hostos-sshd-forward-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let socket = dir.join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o660)).unwrap();
        let stranger = Account {
            name: "x".into(),
            uid: 54321,
            gid: 54321,
            groups: vec![54321],
            home: "/".into(),
            shell: "/bin/sh".into(),
        };
        assert!(!may_write(&socket, &stranger));
        let member = Account { groups: vec![fs::metadata(&socket).unwrap().gid()], ..stranger };
        assert!(may_write(&socket, &member));
        fs::remove_dir_all(dir).unwrap();
    }
}
