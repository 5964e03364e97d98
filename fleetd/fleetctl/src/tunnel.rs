//! The way through ssh: an `ssh` process whose standard streams end at a fleetd.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::cli::Global;
use crate::client::Way;
use crate::failure::Failure;

/// The same way, begun on another host: a socket is that host's, an address is dialled from there.
pub(crate) fn through_ssh(global: &Global, tunnel: &str, way: Way) -> Result<Way, Failure> {
    let mut words = ssh_options(global);
    let (host, port) = match tunnel.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && !host.ends_with(':') => (host, port),
        _ => (tunnel, "22"),
    };
    words.extend(["-p".into(), port.into()]);
    let user = format!("{}@{}", global.ssh_username, host.trim_matches(['[', ']']));
    let tls = match way {
        Way::Unix(path) => {
            words.extend([user, "fleetctl".into(), "fd-forward".into(), path]);
            None
        }
        Way::Plain { host, port } => {
            words.extend(["-W".into(), format!("{host}:{port}"), user]);
            None
        }
        Way::Tls { host, port, config } => {
            words.extend(["-W".into(), format!("{host}:{port}"), user]);
            Some((host, config))
        }
        Way::Ssh { .. } => return Err(Failure::Usage("one tunnel does not go through another".into())),
    };
    Ok(Way::Ssh { words, tls })
}

/// Options for every call of `ssh`.
pub(crate) fn ssh_options(global: &Global) -> Vec<String> {
    let mut words = vec!["-o".to_owned(), format!("ConnectTimeout={}", global.ssh_timeout.ceil().max(1.0))];
    // As fleetctl: a person is asked about a host that is not known, a script is refused.
    let checking = if global.strict_host_key_checking { "ask" } else { "no" };
    words.extend(["-o".to_owned(), format!("StrictHostKeyChecking={checking}")]);
    let known = global.known_hosts_file.as_deref().unwrap_or("~/.fleetctl/known_hosts ~/.ssh/known_hosts");
    words.extend(["-o".to_owned(), format!("UserKnownHostsFile={known}")]);
    words
}

/// The standard streams of an `ssh` that runs as long as this value.
pub(crate) struct SshStream {
    _child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl SshStream {
    pub(crate) fn open(words: &[String]) -> io::Result<Self> {
        let mut child = Command::new("ssh")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("could not start ssh: {error}")))?;
        let missing = || io::Error::other("ssh has no standard streams");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        Ok(Self { _child: child, input, output })
    }
}

impl AsyncRead for SshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buf)
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}
