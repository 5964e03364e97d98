//! Ed25519 keys in OpenSSH's formats.

use rand::TryRngCore;
use rand::rngs::OsRng;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::{LineEnding, PrivateKey, PublicKey};

/// A key pair.
pub struct KeyPair {
    /// As in `id_ed25519`. Secret.
    pub private: String,
    /// As in `id_ed25519.pub`, one line.
    pub public: String,
}

/// Why a key is unusable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The kernel gave no random bytes.
    #[error("no random bytes for a key")]
    Random(#[source] rand::rand_core::OsError),
    /// It cannot be written or read.
    #[error("the ssh key is unreadable")]
    Format(#[source] russh::keys::ssh_key::Error),
    /// There is no key where one should be.
    #[error("no ssh host key is pinned")]
    Missing,
}

impl KeyPair {
    /// Makes a new one.
    pub fn generate(comment: &str) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        OsRng.try_fill_bytes(&mut seed).map_err(KeyError::Random)?;
        let data = KeypairData::from(Ed25519Keypair::from_seed(&seed));
        let key = PrivateKey::new(data, comment).map_err(KeyError::Format)?;
        Ok(Self {
            private: key.to_openssh(LineEnding::LF).map_err(KeyError::Format)?.to_string(),
            public: key.public_key().to_openssh().map_err(KeyError::Format)?,
        })
    }
}

/// The key that a machine's ssh server must prove to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey(PublicKey);

impl HostKey {
    /// From a public key line (`ssh-ed25519 AAAA… comment`).
    pub fn from_public(line: &str) -> Result<Self, KeyError> {
        let mut key = PublicKey::from_openssh(line.trim()).map_err(KeyError::Format)?;
        key.set_comment("");
        Ok(Self(key))
    }

    /// From the first entry of a `known_hosts` file. Host names in it are for other programs: the
    /// file belongs to one machine, and ports may move.
    pub fn from_known_hosts(text: &str) -> Result<Self, KeyError> {
        let entry = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let (_, key) = entry.and_then(|line| line.split_once(' ')).ok_or(KeyError::Missing)?;
        Self::from_public(key)
    }

    /// An entry of `known_hosts` for these names.
    pub fn to_known_hosts(&self, names: &[String]) -> Result<String, KeyError> {
        let key = self.0.to_openssh().map_err(KeyError::Format)?;
        Ok(format!("{} {}\n", names.join(","), key.trim()))
    }

    pub(crate) fn matches(&self, presented: &PublicKey) -> bool {
        self.0.key_data() == presented.key_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_key_survives_the_file_and_differs_from_any_other() {
        let pair = KeyPair::generate("w1").expect("a key");
        assert!(pair.private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        let key = HostKey::from_public(&pair.public).expect("a host key");
        let line = key.to_known_hosts(&["w1".into(), "[127.0.0.1]:2222".into()]).expect("a line");
        assert!(line.starts_with("w1,[127.0.0.1]:2222 ssh-ed25519 AAAA"), "{line}");
        let text = format!("# pinned by rmachine\n\n{line}");
        assert_eq!(HostKey::from_known_hosts(&text).expect("read back"), key);
        let other = KeyPair::generate("w1").expect("a key");
        assert_ne!(HostKey::from_public(&other.public).expect("a host key"), key);
        assert!(matches!(HostKey::from_known_hosts("\n"), Err(KeyError::Missing)));
    }
}
