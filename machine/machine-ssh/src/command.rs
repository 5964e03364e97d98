//! Running a command or a shell, with the caller's streams and the remote exit code.

use russh::{ChannelMsg, Sig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::Receiver;

use crate::{Session, SshError};

/// How a remote command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(u32),
    /// By a signal, without the `SIG`.
    Signal(String),
    /// The connection closed without either.
    Unknown,
}

impl Exit {
    /// As a shell would give it: 128 and more for signals, 255 for a lost connection.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Code(code) => u8::try_from(*code).unwrap_or(255),
            Self::Signal(name) => {
                let known = [("HUP", 1), ("INT", 2), ("QUIT", 3), ("ILL", 4), ("ABRT", 6), ("FPE", 8)];
                let more =
                    [("KILL", 9), ("USR1", 10), ("SEGV", 11), ("PIPE", 13), ("ALRM", 14), ("TERM", 15)];
                let number = known.iter().chain(&more).find(|(signal, _)| signal == name);
                128 + number.map_or(0, |(_, number)| *number)
            }
            Self::Unknown => 255,
        }
    }
}

/// A terminal for the remote side.
pub struct Pty {
    /// Value of `TERM`.
    pub term: String,
    /// Columns and rows.
    pub size: (u32, u32),
    /// New sizes as they come.
    pub resized: Receiver<(u32, u32)>,
}

impl Session {
    /// Runs `command`, or a shell without one, until it ends; passes the streams on unchanged.
    pub async fn run<I, O, E>(
        &self,
        command: Option<&str>,
        mut pty: Option<Pty>,
        mut input: I,
        mut output: O,
        mut errors: E,
    ) -> Result<Exit, SshError>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
        E: AsyncWrite + Unpin,
    {
        let mut channel = self.handle.channel_open_session().await?;
        if let Some(pty) = &pty {
            let (columns, rows) = pty.size;
            channel.request_pty(false, &pty.term, columns, rows, 0, 0, &[]).await?;
        }
        match command {
            Some(command) => channel.exec(true, command).await?,
            None => channel.request_shell(true).await?,
        }
        // Beside the loop below: while it waits for the server to take more, output must flow.
        let mut writer = channel.make_writer();
        let pump = async move {
            // A command that no longer reads closes its side; that is its business.
            let copied = tokio::io::copy(&mut input, &mut writer).await.is_ok();
            let _ = writer.shutdown().await;
            copied
        };
        tokio::pin!(pump);
        let mut pumping = true;
        let mut exit = Exit::Unknown;
        loop {
            tokio::select! {
                message = channel.wait() => match message {
                    None | Some(ChannelMsg::Close) => break,
                    Some(ChannelMsg::Data { data }) => pass(&mut output, &data).await?,
                    Some(ChannelMsg::ExtendedData { data, .. }) => pass(&mut errors, &data).await?,
                    Some(ChannelMsg::ExitStatus { exit_status }) => exit = Exit::Code(exit_status),
                    Some(ChannelMsg::ExitSignal { signal_name, .. }) => exit = Exit::Signal(name(&signal_name)),
                    Some(ChannelMsg::Failure) => {
                        let refused = std::io::Error::other("the server refused to run it");
                        return Err(SshError::Io(refused));
                    }
                    Some(_) => {}
                },
                _ = &mut pump, if pumping => pumping = false,
                Some((columns, rows)) = resized(&mut pty) => {
                    channel.window_change(columns, rows, 0, 0).await?;
                }
            }
        }
        output.flush().await.map_err(SshError::Io)?;
        errors.flush().await.map_err(SshError::Io)?;
        Ok(exit)
    }

    /// Runs a command without input and returns what it wrote.
    pub async fn output(&self, command: &str) -> Result<(Exit, Vec<u8>, Vec<u8>), SshError> {
        self.output_with_input(command, &[]).await
    }

    /// Runs a command with this input and returns what it wrote.
    pub async fn output_with_input(
        &self,
        command: &str,
        input: &[u8],
    ) -> Result<(Exit, Vec<u8>, Vec<u8>), SshError> {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let exit = self.run(Some(command), None, input, &mut output, &mut errors).await?;
        Ok((exit, output, errors))
    }
}

async fn pass(to: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> Result<(), SshError> {
    to.write_all(data).await.map_err(SshError::Io)?;
    to.flush().await.map_err(SshError::Io)
}

async fn resized(pty: &mut Option<Pty>) -> Option<(u32, u32)> {
    match pty {
        Some(pty) => pty.resized.recv().await,
        None => std::future::pending().await,
    }
}

fn name(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}
