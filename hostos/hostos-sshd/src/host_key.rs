//! The key by which clients know the machine: given by its config, or made once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::{LineEnding, PrivateKey};

/// Why there is no host key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostKeyError {
    #[error("cannot read the host key {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the host key {} is no OpenSSH private key without a passphrase", path.display())]
    Format { path: PathBuf, source: russh::keys::ssh_key::Error },
    #[error("cannot write the host key {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the kernel gave no random bytes for a host key")]
    Random(#[source] rand::rand_core::OsError),
}

/// The key at `path`, made first if there is none.
pub(crate) fn load_or_make(path: &Path) -> Result<PrivateKey, HostKeyError> {
    match fs::read_to_string(path) {
        Ok(text) => PrivateKey::from_openssh(&text)
            .map_err(|source| HostKeyError::Format { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(source) => Err(HostKeyError::Read { path: path.to_owned(), source }),
    }
}

fn make(path: &Path) -> Result<PrivateKey, HostKeyError> {
    let mut seed = [0; 32];
    OsRng.try_fill_bytes(&mut seed).map_err(HostKeyError::Random)?;
    let format = |source| HostKeyError::Format { path: path.to_owned(), source };
    let key = PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(&seed)), "").map_err(format)?;
    let private = key.to_openssh(LineEnding::LF).map_err(format)?;
    let public = key.public_key().to_openssh().map_err(format)?;
    let write = |source| HostKeyError::Write { path: path.to_owned(), source };
    write_new(path, private.as_bytes(), 0o600).map_err(write)?;
    write_new(&path.with_extension("pub"), format!("{public}\n").as_bytes(), 0o644).map_err(write)?;
    Ok(key)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_secret() {
        let dir = std::env::temp_dir().join(format!("hostos-sshd-key-{}", std::process::id()));
        let path = dir.join("ssh_host_ed25519_key");
        let first = load_or_make(&path).unwrap();
        let second = load_or_make(&path).unwrap();
        assert_eq!(first.public_key().key_data(), second.public_key().key_data());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(dir).unwrap();
    }
}
