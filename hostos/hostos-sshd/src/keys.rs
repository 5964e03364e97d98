//! Whose keys open an account: `~/.ssh/authorized_keys` and every file of `authorized_keys.d`.

use std::fs;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::PublicKey;
use tracing::warn;

/// More than this is no list of keys.
const LARGEST: u64 = 1024 * 1024;

/// Whether `offered` is among the keys in the home directory `home`.
pub(crate) fn authorized(home: &Path, offered: &PublicKey) -> bool {
    files(&home.join(".ssh")).iter().any(|path| match read(path) {
        Some(text) => contains(&text, offered, path),
        None => false,
    })
}

fn files(ssh: &Path) -> Vec<PathBuf> {
    let mut files = vec![ssh.join("authorized_keys")];
    if let Ok(entries) = fs::read_dir(ssh.join("authorized_keys.d")) {
        let visible = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with('.');
        files.extend(entries.flatten().filter(|entry| visible(&entry.file_name())).map(|entry| entry.path()));
    }
    files
}

fn read(path: &Path) -> Option<String> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > LARGEST {
        return None;
    }
    fs::read_to_string(path).ok()
}

fn contains(text: &str, offered: &PublicKey, path: &Path) -> bool {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        match PublicKey::from_openssh(line) {
            Ok(key) if key.key_data() == offered.key_data() => return true,
            Ok(_) => {}
            // Options limit what a key may do. What cannot be enforced is not let in.
            Err(error) => warn!(path = %path.display(), %error, "line of authorized keys skipped"),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti a@b";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIhBEFvoKsf8wPYBdHDhm7DTA3Fl0iVQ9Rm2kbvWmDTF c";

    #[test]
    fn a_key_is_found_among_comments_whatever_its_own_comment() {
        let offered = PublicKey::from_openssh(&KEY.replace("a@b", "x")).unwrap();
        let text = format!("# mine\n\n{OTHER}\n{KEY}\n");
        assert!(contains(&text, &offered, Path::new("f")));
        assert!(!contains(OTHER, &offered, Path::new("f")));
    }

    #[test]
    fn a_key_with_options_does_not_open_the_account() {
        let offered = PublicKey::from_openssh(KEY).unwrap();
        assert!(!contains(&format!("command=\"true\" {KEY}"), &offered, Path::new("f")));
    }
}
