//! `rmachine ssh`: a shell or a command on a machine. Its exit code is ours.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use machine_ssh::{HostKey, Pty, Session, SshError, Target};
use machine_types::State;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::engine::socket_address;
use crate::failure::Failure;
use crate::machine::{Machine, name_or_default};

/// Flags of `ssh`: all words after the name are the command.
#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// Name of the machine, or USER@NAME [default: default]
    name: Option<String>,
    /// Command to run; without one, a shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

const CONNECT: Duration = Duration::from_secs(20);

pub(crate) fn run(context: &Context, args: &Ssh) -> Result<ExitCode, Failure> {
    let (user, name) = match args.name.as_deref().map(|name| name.split_once('@').unwrap_or(("", name))) {
        Some((user, name)) => (user, Some(name)),
        None => ("", None),
    };
    let name = name_or_default(context, name.map(str::to_owned).as_ref())?;
    let machine = Machine::load(context, &name)?;
    let mut target = target(&machine)?;
    if !user.is_empty() {
        user.clone_into(&mut target.user);
    }
    // As ssh does: the words are joined, the remote shell takes them apart.
    let command = (!args.command.is_empty()).then(|| args.command.join(" "));
    let runtime = runtime()?;
    let exit = runtime.block_on(talk(&target, command.as_deref()));
    // A thread may still wait for our stdin; nobody needs what it reads.
    runtime.shutdown_background();
    Ok(ExitCode::from(exit?))
}

/// Where and how to log in to a machine that runs.
pub(crate) fn target(machine: &Machine) -> Result<Target, Failure> {
    let name = &machine.record.name;
    if machine.state(Duration::from_secs(5))? == State::Stopped {
        return Err(Failure::elder(format!("Error: Cannot run SSH command: Host \"{name}\" is not running"))
            .hint(format!("start it with `rmachine start {name}`")));
    }
    let endpoint = machine
        .driver
        .ssh()
        .ok_or_else(|| Failure::new(format!("machine `{name}` has no ssh server that rmachine knows of")))?;
    let dir = &machine.place.dir;
    let text = |file: &str| {
        let bytes = machine_store::read(&dir.join(file))?;
        Ok::<_, Failure>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let host_key = HostKey::from_known_hosts(&text("known_hosts")?).map_err(|error| {
        Failure::because(format!("{} is unusable", dir.join("known_hosts").display()), &error)
    })?;
    Ok(Target {
        address: socket_address(&format!("{}:{}", endpoint.host, endpoint.port))?,
        user: endpoint.user,
        private_key: text("id_ed25519")?,
        host_key: Some(host_key),
        limit: CONNECT,
    })
}

/// Runs a command on a machine as root; anything but 0 is a failure with what it said.
pub(crate) fn run_as_root(machine: &Machine, command: &str) -> Result<(), Failure> {
    let mut target = target(machine)?;
    target.user = "root".into();
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let session = Session::connect(&target).await.map_err(|error| ssh_failure(&error))?;
        tokio::time::timeout(CONNECT, session.output(command))
            .await
            .map_err(|_| Failure::new(format!("`{command}` did not end within {} s", CONNECT.as_secs())))?
            .map_err(|error| ssh_failure(&error))
    });
    runtime.shutdown_background();
    let (exit, _, said) = outcome?;
    if exit.code() == 0 {
        return Ok(());
    }
    Err(Failure::new(format!("`{command}` failed: {}", String::from_utf8_lossy(&said).trim())))
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("could not start", &error))
}

pub(crate) fn ssh_failure(error: &SshError) -> Failure {
    let hint = match error {
        SshError::Connect { .. } | SshError::TimedOut { .. } => {
            "see how it is doing with `rmachine logs NAME`"
        }
        SshError::HostKey(_) => "another program may have taken its port: see `rmachine inspect NAME`",
        _ => "",
    };
    // 255, as ssh itself: everything else is the remote command's.
    Failure::because("ssh failed", error).hint(hint).code(255)
}

async fn talk(target: &Target, command: Option<&str>) -> Result<u8, Failure> {
    let session = Session::connect(target).await.map_err(|error| ssh_failure(&error))?;
    let stdin = std::io::stdin();
    let wants_terminal = command.is_none() && stdin.is_terminal();
    let raw = if wants_terminal { RawTerminal::enter().ok() } else { None };
    let pty = if wants_terminal { Some(pty()) } else { None };
    let exit = session.run(command, pty, tokio::io::stdin(), tokio::io::stdout(), tokio::io::stderr()).await;
    drop(raw);
    let exit = exit.map_err(|error| ssh_failure(&error))?;
    session.close().await;
    Ok(exit.code())
}

fn pty() -> Pty {
    let (sender, resized) = mpsc::channel(4);
    tokio::spawn(async move {
        let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
        while changes.recv().await.is_some() {
            // The session may be over.
            if sender.send(terminal_size()).await.is_err() {
                return;
            }
        }
    });
    let term = std::env::var("TERM").unwrap_or_else(|_| "xterm".into());
    Pty { term, size: terminal_size(), resized }
}

/// Columns and rows of our terminal.
fn terminal_size() -> (u32, u32) {
    let size = terminal_size::terminal_size();
    size.map_or((80, 24), |(columns, rows)| (u32::from(columns.0), u32::from(rows.0)))
}

/// The terminal passes every key on while this lives.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> nix::Result<Self> {
        let stdin = std::io::stdin();
        let saved = tcgetattr(&stdin)?;
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw)?;
        Ok(Self(saved))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The terminal may be gone; then nobody misses its old state.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use crate::cli::{Cli, Command};

    fn words(line: &str) -> (Option<String>, Vec<String>) {
        let matches = Cli::command().try_get_matches_from(line.split(' ')).expect("it parses");
        match Cli::from_arg_matches(&matches).expect("it parses").command {
            Command::Ssh(ssh) => (ssh.name, ssh.command),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_after_the_name_is_the_command() {
        let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(words("rmachine ssh"), (None, vec![]));
        assert_eq!(words("rmachine ssh m1 -- ls -la /").1, command(&["ls", "-la", "/"]));
        assert_eq!(words("rmachine ssh m1 ls -la / -h").1, command(&["ls", "-la", "/", "-h"]));
        assert_eq!(words("rmachine ssh m1 sh -c -- x").1, command(&["sh", "-c", "--", "x"]));
    }
}
