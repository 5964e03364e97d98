//! Whom a machine trusts: the public authorities, and those that its image, its user or whoever made
//! it added. It reads files; it decides nothing about a connection.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The folder where a config puts further authorities, one or more in each `.pem` or `.crt` file.
const FOLDER: &str = "/etc/ssl/certs";

/// The authority of whoever made the machine, which signed its engine's certificate.
const MAKER: &str = "/etc/docker/ca.pem";

/// Everyone a program on this machine trusts unless it is told otherwise.
#[must_use]
pub fn roots() -> RootCertStore {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    add_below(&mut roots, Path::new(FOLDER));
    add_file(&mut roots, Path::new(MAKER));
    roots
}

/// Adds what the bundle `pem` holds; says how many certificates that are.
pub fn add_pem(roots: &mut RootCertStore, pem: &[u8]) -> usize {
    let (added, _) =
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    added
}

fn add_below(roots: &mut RootCertStore, folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "pem" || kind == "crt"));
    paths.sort();
    for path in paths {
        add_file(roots, &path);
    }
}

/// A file that does not read adds nobody: what it would have vouched for then fails by itself, and in
/// words about the certificate.
fn add_file(roots: &mut RootCertStore, path: &Path) {
    if let Ok(pem) = fs::read(path) {
        add_pem(roots, &pem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pem_file_of_the_folder_counts_and_noise_does_not() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["ca.test".to_owned()]).expect("parameters");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        fs::write(dir.path().join("own.pem"), &pem).expect("it is written");
        fs::write(dir.path().join("more.crt"), pem.repeat(2)).expect("it is written");
        fs::write(dir.path().join("noise.pem"), "no certificate").expect("it is written");
        fs::write(dir.path().join("readme"), &pem).expect("it is written");
        let mut roots = RootCertStore::empty();
        add_below(&mut roots, dir.path());
        assert_eq!(roots.len(), 3);
    }
}
