//! `rmachine scp`: copies between this workstation and machines, or between machines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use machine_ssh::{CopyError, Session, Target};
use machine_types::MachineName;

use crate::commands::ssh::{runtime, ssh_failure, target};
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::Machine;

/// Flags of `scp`.
#[derive(Debug, Args)]
pub(crate) struct Scp {
    /// Copy folders with all that is in them
    #[arg(long, short)]
    recursive: bool,
    /// Taken for docker-machine's sake: files are copied whole
    #[arg(long, short, hide = true)]
    delta: bool,
    /// Say nothing
    #[arg(long, short)]
    quiet: bool,
    /// From where: [[USER@]MACHINE:]PATH
    #[arg(value_name = "FROM")]
    from: String,
    /// To where: [[USER@]MACHINE:]PATH
    #[arg(value_name = "TO")]
    to: String,
}

enum End {
    Here(PathBuf),
    Machine { target: Box<Target>, path: String },
}

pub(crate) fn run(context: &Context, args: &Scp) -> Result<ExitCode, Failure> {
    let from = end(context, &args.from)?;
    let to = end(context, &args.to)?;
    let runtime = runtime()?;
    runtime.block_on(copy(from, to, args.recursive))?;
    if !args.quiet {
        eprintln!("copied {} to {}", args.from, args.to);
    }
    Ok(ExitCode::SUCCESS)
}

/// What a word of the command line means; `localhost:` is this workstation.
fn end(context: &Context, word: &str) -> Result<End, Failure> {
    let Some((user, name, path)) = split(word) else { return Ok(End::Here(word.into())) };
    if name == "localhost" {
        return Ok(End::Here(path.into()));
    }
    let name: MachineName =
        name.parse().map_err(|error| Failure::because(format!("`{word}` names no machine"), &error))?;
    let mut target = target(&Machine::load(context, &name)?)?;
    if let Some(user) = user {
        user.clone_into(&mut target.user);
    }
    Ok(End::Machine { target: Box::new(target), path: path.to_owned() })
}

/// User, machine and path; nothing for a plain path, which may hold a colon after a slash.
fn split(word: &str) -> Option<(Option<&str>, &str, &str)> {
    let (host, path) = word.split_once(':')?;
    if host.is_empty() || host.contains('/') {
        return None;
    }
    let (user, name) = host.split_once('@').map_or((None, host), |(user, name)| (Some(user), name));
    Some((user, name, path))
}

async fn copy(from: End, to: End, recursive: bool) -> Result<(), Failure> {
    match (from, to) {
        (End::Here(_), End::Here(_)) => {
            Err(Failure::new("neither end of the copy is a machine")
                .hint("write one as MACHINE:PATH, or use cp"))
        }
        (End::Here(from), End::Machine { target, path }) => {
            let session = connect(&target).await?;
            let copied = session.files().await.map_err(failed)?.upload(&from, &path, recursive).await;
            session.close().await;
            copied.map_err(failed)
        }
        (End::Machine { target, path }, End::Here(to)) => {
            let session = connect(&target).await?;
            let copied = session.files().await.map_err(failed)?.download(&path, &to, recursive).await;
            session.close().await;
            copied.map_err(failed)
        }
        (End::Machine { target: from, path: source }, End::Machine { target: to, path: target }) => {
            relay(&from, &source, &to, &target, recursive).await
        }
    }
}

/// Between machines, by way of a folder here: they need not know each other.
async fn relay(
    from: &Target,
    source: &str,
    to: &Target,
    target: &str,
    recursive: bool,
) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let name = source.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty());
    let between = folder.0.join(name.unwrap_or("copy"));
    let session = connect(from).await?;
    session.files().await.map_err(failed)?.download(source, &between, recursive).await.map_err(failed)?;
    session.close().await;
    let session = connect(to).await?;
    session.files().await.map_err(failed)?.upload(&between, target, recursive).await.map_err(failed)?;
    session.close().await;
    Ok(())
}

/// A folder that only we can read, gone with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("rmachine-scp-{}", uuid::Uuid::new_v4()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::because(format!("could not make {}", path.display()), &error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::warn!(path = %path.display(), %error, "a temporary folder stays");
        }
    }
}

async fn connect(target: &Target) -> Result<Session, Failure> {
    Session::connect(target).await.map_err(|error| ssh_failure(&error))
}

fn failed(error: CopyError) -> Failure {
    Failure::because("could not copy", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_path_unless_a_machine_stands_before_its_first_colon() {
        assert_eq!(split("w1:/etc/hosts"), Some((None, "w1", "/etc/hosts")));
        assert_eq!(split("root@w1:"), Some((Some("root"), "w1", "")));
        assert_eq!(split("./a:b"), None);
        assert_eq!(split("plain"), None);
        assert_eq!(split(":x"), None);
    }
}
