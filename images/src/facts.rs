//! What a build is made from: the commit and its date, for the programs to tell (`docker version`).
//!
//! Both belong to the source, not to the moment or the machine, so the same source gives the same bytes.
//! `RMACHINE_COMMIT` and `SOURCE_DATE_EPOCH` of the environment win; then git's word; then that of the
//! archive the source was unpacked from.

use std::path::Path;
use std::process::{Command, Stdio};

/// The names under which the compiler passes them on to the programs.
const COMMIT: &str = "RMACHINE_COMMIT";
const TIME: &str = "RMACHINE_COMMIT_TIME";
/// Digits of a commit that are shown.
const SHOWN: usize = 12;

/// The commit and its date, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    commit: Option<String>,
    /// Seconds since 1970.
    time: Option<u64>,
}

impl Facts {
    /// Those of the source at `workspace`.
    #[must_use]
    pub fn of(workspace: &Path) -> Self {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let source = from_git(workspace).or_else(|| {
            let text = std::fs::read_to_string(workspace.join(".commit")).ok()?;
            parse(text.trim(), false)
        });
        let source = source.unwrap_or_default();
        Self {
            commit: read(COMMIT).or(source.commit),
            time: read("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok()).or(source.time),
        }
    }

    /// Tells a cargo that is about to run.
    pub fn tell(&self, cargo: &mut Command) {
        cargo.env_remove(COMMIT).env_remove(TIME);
        if let Some(commit) = &self.commit {
            cargo.env(COMMIT, commit);
        }
        if let Some(time) = self.time {
            cargo.env(TIME, time.to_string());
        }
    }
}

fn from_git(workspace: &Path) -> Option<Facts> {
    // A checkout inside another project's must not take that one's word.
    if !workspace.join(".git").exists() {
        return None;
    }
    let git = |args: &[&str]| {
        let done =
            Command::new("git").arg("-C").arg(workspace).args(args).stderr(Stdio::null()).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    parse(&git(&["log", "-1", "--format=%H %ct"])?, !changed.is_empty())
}

/// `COMMIT SECONDS`; what git has not filled in is nothing.
fn parse(text: &str, changed: bool) -> Option<Facts> {
    let (commit, time) = text.split_once(' ')?;
    if commit.len() < SHOWN || !commit.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mark = if changed { "-dirty" } else { "" };
    Some(Facts { commit: Some(format!("{}{mark}", &commit[..SHOWN])), time: time.parse().ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_git_is_read_and_a_template_is_not() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let facts = parse(&format!("{commit} 1700000000"), true).unwrap();
        assert_eq!((facts.commit.as_deref(), facts.time), (Some("0123456789ab-dirty"), Some(1_700_000_000)));
        assert_eq!(parse("$Format:%H %ct$", false), None);
        assert_eq!(parse("", false), None);
    }

    #[test]
    fn an_archive_speaks_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".commit"), "89abcdef0123456789abcdef0123456789abcdef 5\n").unwrap();
        let mut command = Command::new("true");
        parse("89abcdef0123456789abcdef0123456789abcdef 5", false).unwrap().tell(&mut command);
        let told: Vec<_> = command.get_envs().filter_map(|(_, value)| value?.to_str()).collect();
        assert_eq!(told, ["89abcdef0123", "5"]);
        if std::env::var_os("RMACHINE_COMMIT").is_none() {
            assert_eq!(Facts::of(dir.path()).commit.as_deref(), Some("89abcdef0123"));
        }
    }
}
