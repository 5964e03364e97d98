//! Signs a manifest, and checks that a release is what was signed: ed25519, base64 in a file beside it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hostos_api::manifest::{FORMAT, MANIFEST_FILE, Manifest, SIGNATURE_FILE};
use sha2::{Digest, Sha256};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The file of the key.
    #[error("cannot read or write the signing key {}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it.
    #[error("{} is no ed25519 key in PKCS#8", path.display())]
    Format {
        /// Where.
        path: PathBuf,
    },
}

/// Why a release is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file of it.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The public key.
    #[error("this is no ed25519 public key in PEM")]
    Key,
    /// The signature.
    #[error("the manifest in {} is not signed by this key", dir.display())]
    Signature {
        /// Of the release.
        dir: PathBuf,
    },
    /// The manifest.
    #[error("the manifest in {} does not read", dir.display())]
    Manifest {
        /// Of the release.
        dir: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A later layout.
    #[error("the release in {} has format {found}, this program knows {FORMAT}", dir.display())]
    Format {
        /// Of the release.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A file that was changed.
    #[error("{} is not what the manifest says: the release is damaged", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

pub(crate) fn load_or_make(path: &Path) -> Result<SigningKey, SignError> {
    let file = |source| SignError::File { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) => {
            SigningKey::from_pkcs8_pem(&text).map_err(|_| SignError::Format { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(file),
        Err(error) => Err(file(error)),
    }
}

fn make(path: &Path) -> io::Result<SigningKey> {
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let key = SigningKey::from_bytes(&seed);
    let text = key.to_pkcs8_pem(LineEnding::LF).map_err(io::Error::other)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())?;
    Ok(key)
}

pub(crate) fn public_pem(key: &SigningKey) -> Result<String, SignError> {
    let text = key.verifying_key().to_public_key_pem(LineEnding::LF);
    text.map_err(|_| SignError::Format { path: PathBuf::from("the public key") })
}

pub(crate) fn signature(key: &SigningKey, bytes: &[u8]) -> String {
    STANDARD.encode(key.sign(bytes).to_bytes()) + "\n"
}

/// The manifest of the release in `dir`, once signature and files are found to be good.
pub fn verify(dir: &Path, public_key_pem: &str) -> Result<Manifest, VerifyError> {
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read(&path).map_err(|source| VerifyError::Read { path, source })
    };
    let key = VerifyingKey::from_public_key_pem(public_key_pem).map_err(|_| VerifyError::Key)?;
    let text = read(MANIFEST_FILE)?;
    let signed = STANDARD
        .decode(String::from_utf8_lossy(&read(SIGNATURE_FILE)?).trim())
        .ok()
        .and_then(|bytes| Signature::from_slice(&bytes).ok())
        .is_some_and(|signature| key.verify_strict(&text, &signature).is_ok());
    if !signed {
        return Err(VerifyError::Signature { dir: dir.to_owned() });
    }
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|source| VerifyError::Manifest { dir: dir.to_owned(), source })?;
    if manifest.format != FORMAT {
        return Err(VerifyError::Format { dir: dir.to_owned(), found: manifest.format });
    }
    for (name, file) in &manifest.files {
        let bytes = read(name)?;
        if bytes.len() as u64 != file.size || hex::encode(Sha256::digest(&bytes)) != file.sha256 {
            return Err(VerifyError::Damaged { path: dir.join(name) });
        }
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hostos_api::manifest::{Flavor, ReleaseFile};

    use super::*;

    fn release(dir: &Path, key: &SigningKey) {
        let file = ReleaseFile { sha256: hex::encode(Sha256::digest(b"kernel")), size: 6 };
        let manifest = Manifest {
            format: FORMAT,
            version: "1.2.3".into(),
            flavor: Flavor::Vm,
            kernel_version: "6.1".into(),
            cmdline: String::new(),
            kernel: "vmlinuz".into(),
            initramfs: "initrd.zst".into(),
            files: BTreeMap::from([("vmlinuz".to_owned(), file)]),
        };
        let text = serde_json::to_vec(&manifest).unwrap();
        fs::write(dir.join("vmlinuz"), b"kernel").unwrap();
        fs::write(dir.join(MANIFEST_FILE), &text).unwrap();
        fs::write(dir.join(SIGNATURE_FILE), signature(key, &text)).unwrap();
    }

    #[test]
    fn only_the_release_that_was_signed_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let key = load_or_make(&dir.path().join("key.pem")).unwrap();
        let public = public_pem(&load_or_make(&dir.path().join("key.pem")).unwrap()).unwrap();
        release(dir.path(), &key);
        assert_eq!(verify(dir.path(), &public).unwrap().version, "1.2.3");
        fs::write(dir.path().join("vmlinuz"), b"kernal").unwrap();
        assert!(matches!(verify(dir.path(), &public), Err(VerifyError::Damaged { .. })));
        release(dir.path(), &SigningKey::from_bytes(&[7; 32]));
        assert!(matches!(verify(dir.path(), &public), Err(VerifyError::Signature { .. })));
    }
}
