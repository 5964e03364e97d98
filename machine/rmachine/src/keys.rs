//! Keys and certificates: the store's authority and client, each machine's own. Everything that is
//! there and good stays; everything else is made.

use std::path::Path;
use std::time::Duration;

use machine_core::driver::Place;
use machine_pki::{Certificate, Pair, authority, client, key_matches, server};
use machine_ssh::{HostKey, KeyPair};
use machine_store::{read, write_unsynced};
use machine_types::MachineName;
use time::OffsetDateTime;

use crate::context::{Certs, Context};
use crate::failure::Failure;

const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// What a new machine is given.
pub(crate) struct MachineKeys {
    pub(crate) ca: String,
    pub(crate) server: Pair,
    pub(crate) ssh_host_key: String,
    pub(crate) ssh_authorized_key: String,
}

/// The authority and the client, made on first use, by one rmachine only. Who relies on them beyond a
/// crash of this computer calls [`sync_store_keys`].
pub(crate) fn store_keys(context: &Context) -> Result<(Pair, Pair), Failure> {
    let _lock = context.store.lock_certs(LOCK_LIMIT)?;
    context.store.make_dir(&context.store.certs())?;
    let certs = &context.certs;
    let now = OffsetDateTime::now_utc();
    let ca = match read_pair(&certs.ca, &certs.ca_key)? {
        Some(ca) => ca,
        None => {
            // The certificate comes last: while it is missing, the authority was never used.
            let ca = authority(&organization(), now).map_err(|error| pki(&error))?;
            write_pair(&certs.ca, &certs.ca_key, &ca)?;
            ca
        }
    };
    let good = |pair: &Pair| {
        Certificate::read(&pair.cert, &ca.cert)
            .is_ok_and(|cert| cert.signed_by_authority && !cert.is_old(now))
            && key_matches(&pair.cert, &pair.key)
    };
    let user = match read_pair(&certs.client, &certs.client_key)? {
        Some(pair) if good(&pair) || !is_ours(context, certs) => pair,
        _ => {
            let pair = client(&ca, &organization(), now).map_err(|error| pki(&error))?;
            write_pair(&certs.client, &certs.client_key, &pair)?;
            pair
        }
    };
    Ok((ca, user))
}

/// A new certificate for the client. Machines trust the authority, so they take it at once.
pub(crate) fn renew_client(context: &Context) -> Result<(), Failure> {
    let (ca, _) = store_keys(context)?;
    let _lock = context.store.lock_certs(LOCK_LIMIT)?;
    let pair = client(&ca, &organization(), OffsetDateTime::now_utc()).map_err(|error| pki(&error))?;
    write_pair(&context.certs.client, &context.certs.client_key, &pair)?;
    sync_store_keys(context)
}

/// Sees to it that the authority and the client outlive a crash: a machine trusts them.
pub(crate) fn sync_store_keys(context: &Context) -> Result<(), Failure> {
    let Certs { ca, ca_key, client, client_key } = context.certs.clone();
    Ok(machine_store::sync_paths(&[ca, ca_key, client, client_key])?)
}

/// Gives a machine's folder the client anew when less than a third of the life of its copy is left.
/// Old or not, the copy may still work: what hinders this is not told of.
pub(crate) fn keep_client_young(context: &Context, dir: &Path) {
    let copy = (text(&dir.join("cert.pem")), text(&dir.join("ca.pem")));
    let (Ok(cert), Ok(ca)) = copy else { return };
    let is_old = Certificate::read(&cert, &ca).is_ok_and(|cert| cert.is_old(OffsetDateTime::now_utc()));
    if !is_old {
        return;
    }
    let renewed = store_keys(context).and_then(|(authority, user)| {
        if authority.cert == ca {
            keep(&dir.join("key.pem"), &user.key, 0o600)?;
            keep(&dir.join("cert.pem"), &user.cert, 0o644)?;
        }
        Ok(())
    });
    if let Err(failure) = renewed {
        tracing::debug!(why = failure.message, "client not renewed");
    }
}

/// A machine's own keys in its folder, and copies of what a client of it needs. The caller sees to it
/// that they reach the disk before the machine counts as made.
///
/// With `own_ssh` the machine had an ssh server before us: there is no host key to make, and the key
/// to log in with is in the folder already.
pub(crate) fn machine_keys(
    context: &Context,
    place: &Place,
    names: &[String],
    own_ssh: bool,
) -> Result<MachineKeys, Failure> {
    let (ca, user) = store_keys(context)?;
    let dir = &place.dir;
    context.store.make_dir(dir)?;
    keep(&dir.join("ca.pem"), &ca.cert, 0o644)?;
    keep(&dir.join("cert.pem"), &user.cert, 0o644)?;
    keep(&dir.join("key.pem"), &user.key, 0o600)?;
    let server = server_pair(dir, &ca, names, false)?;
    if own_ssh {
        let (ssh_host_key, ssh_authorized_key) = (String::new(), String::new());
        return Ok(MachineKeys { ca: ca.cert, server, ssh_host_key, ssh_authorized_key });
    }
    let login = ssh_pair(dir, "id_ed25519", &format!("rmachine {}", place.name))?;
    let host = ssh_pair(dir, "ssh_host_ed25519_key", place.name.as_str())?;
    let pinned = HostKey::from_public(&host.public)
        .and_then(|key| key.to_known_hosts(&[place.name.to_string(), "*".into()]))
        .map_err(|error| Failure::because("could not pin the ssh host key", &error))?;
    keep(&dir.join("known_hosts"), &pinned, 0o600)?;
    Ok(MachineKeys { ca: ca.cert, server, ssh_host_key: host.private, ssh_authorized_key: login.public })
}

/// What a client of a machine needs that makes its other keys itself.
pub(crate) struct LoginKeys {
    pub(crate) ca: String,
    pub(crate) ssh_authorized_key: String,
}

/// Makes them in the machine's folder.
pub(crate) fn login_keys(context: &Context, dir: &Path, name: &MachineName) -> Result<LoginKeys, Failure> {
    let (ca, _) = store_keys(context)?;
    context.store.make_dir(dir)?;
    let login = ssh_pair(dir, "id_ed25519", &format!("rmachine {name}"))?;
    Ok(LoginKeys { ca: ca.cert, ssh_authorized_key: login.public })
}

/// The machine's certificate: the one that is there if it is good and not to be renewed.
pub(crate) fn server_pair(dir: &Path, ca: &Pair, names: &[String], renew: bool) -> Result<Pair, Failure> {
    let (cert, key) = (dir.join("server.pem"), dir.join("server-key.pem"));
    let now = OffsetDateTime::now_utc();
    if let (false, Some(pair)) = (renew, read_pair(&cert, &key)?) {
        let good = Certificate::read(&pair.cert, &ca.cert)
            .is_ok_and(|cert| cert.signed_by_authority && !cert.is_old(now) && cert.covers(names));
        if good && key_matches(&pair.cert, &pair.key) {
            return Ok(pair);
        }
    }
    let pair = server(ca, &organization(), names, now).map_err(|error| pki(&error))?;
    write_unsynced(&key, pair.key.as_bytes(), 0o600)?;
    write_unsynced(&cert, pair.cert.as_bytes(), 0o644)?;
    Ok(pair)
}

/// Whether the client's files are the store's own, so that we may replace them.
fn is_ours(context: &Context, certs: &Certs) -> bool {
    certs.client.starts_with(context.store.root())
}

fn ssh_pair(dir: &Path, name: &str, comment: &str) -> Result<KeyPair, Failure> {
    let (private, public) = (dir.join(name), dir.join(format!("{name}.pub")));
    if is_there(&private) && is_there(&public) {
        return Ok(KeyPair { private: text(&private)?, public: text(&public)? });
    }
    let pair =
        KeyPair::generate(comment).map_err(|error| Failure::because("could not make an ssh key", &error))?;
    write_unsynced(&private, pair.private.as_bytes(), 0o600)?;
    write_unsynced(&public, format!("{}\n", pair.public.trim()).as_bytes(), 0o644)?;
    Ok(pair)
}

/// Whether a file is there with something in it: a crash may have left an empty one.
fn is_there(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

/// Both files, or nothing when the certificate is missing.
pub(crate) fn read_pair(cert: &Path, key: &Path) -> Result<Option<Pair>, Failure> {
    if !is_there(cert) {
        return Ok(None);
    }
    if !is_there(key) {
        return Err(Failure::new(format!(
            "{} is there, but its key {} is not",
            cert.display(),
            key.display()
        ))
        .hint("put the key back, or remove the certificate so that both are made anew"));
    }
    Ok(Some(Pair { cert: text(cert)?, key: text(key)? }))
}

pub(crate) fn write_pair(cert: &Path, key: &Path, pair: &Pair) -> Result<(), Failure> {
    write_unsynced(key, pair.key.as_bytes(), 0o600)?;
    Ok(write_unsynced(cert, pair.cert.as_bytes(), 0o644)?)
}

/// Writes a file unless it says so already.
fn keep(path: &Path, contents: &str, mode: u32) -> Result<(), Failure> {
    if std::fs::read(path).is_ok_and(|found| found == contents.as_bytes()) {
        return Ok(());
    }
    Ok(write_unsynced(path, contents.as_bytes(), mode)?)
}

fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?).map_err(|_| Failure::new(format!("{} is no text", path.display())))
}

fn organization() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "rmachine".into())
}

pub(crate) fn pki(error: &machine_pki::PkiError) -> Failure {
    Failure::because("could not make a certificate", error)
}
