//! The authority of a cluster, the workstation's certificate of it, and each member's: made by the same
//! crate as a member makes them that lets others in.

use std::net::Ipv4Addr;
use std::path::Path;

use fleet_join::{Authority, Holder, MemberRole, PkiError, SigningRequest};
use machine_pki::{CERTIFICATE_LIFE, Certificate, Pair, key_matches};
use machine_store::write_unsynced;
use machine_types::MachineName;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::context::Context;
use crate::failure::Failure;
use crate::keys::{read_pair, write_pair};
use crate::machine::Machine;

/// A machine's certificate as a member, and its key.
pub(crate) const MEMBER: [&str; 2] = ["member.pem", "member-key.pem"];

/// The authority and the workstation's certificate; made when missing. The caller holds the lock.
pub(crate) fn cluster_keys(context: &Context, name: &MachineName) -> Result<(Pair, Pair), Failure> {
    let dir = context.store.cluster(name);
    context.store.make_dir(&dir)?;
    let now = OffsetDateTime::now_utc();
    let organization = format!("cluster {name}");
    let ca = match read_pair(&dir.join("ca.pem"), &dir.join("ca-key.pem"))? {
        Some(ca) => ca,
        None => {
            let ca = plain(Authority::create(&organization, now).map_err(|error| pki(&error))?.pair());
            write_pair(&dir.join("ca.pem"), &dir.join("ca-key.pem"), &ca)?;
            ca
        }
    };
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let user = match read_pair(&cert, &key)? {
        Some(pair) if is_good(&pair, &ca, &[], now) => pair,
        _ => {
            let issued = load(&ca)?.issue("rmachine client", Holder::Admin, now);
            let pair = plain(&issued.map_err(|error| pki(&error))?);
            write_pair(&cert, &key, &pair)?;
            pair
        }
    };
    Ok((ca, user))
}

/// What a machine is called in its cluster. Unlike its engine's certificate, this one does not name the
/// address that QEMU's own network gives to every machine, nor patterns: no two members may have a name in
/// common.
pub(crate) fn member_names(machine: &Machine, address: Ipv4Addr) -> Vec<String> {
    let own = [machine.record.name.as_str(), "localhost", "127.0.0.1", "::1", &address.to_string()];
    let more = machine.record.host_options.auth_options.server_cert_sans.iter();
    let more = more.filter(|name| !name.contains('*')).cloned();
    own.iter().map(|&name| name.to_owned()).chain(more).collect()
}

/// A new certificate for a member, whatever the old one is worth; with the files of the machine that hold
/// it. Its daemons read them again by themselves.
pub(crate) fn renewed_member(
    context: &Context,
    machine: &Machine,
) -> Result<Vec<(&'static str, String, u32)>, Failure> {
    let Some(cluster) = &machine.record.host_options.cluster else { return Ok(Vec::new()) };
    let name = &machine.record.name;
    let _lock = super::lock(context, cluster)?;
    // One on a bridge of the user's has its kv, if any, from somebody else.
    let Some(kept) = super::find(context, cluster)? else { return Ok(Vec::new()) };
    let Some(member) = kept.members.get(name) else { return Ok(Vec::new()) };
    let role = if member.worker { MemberRole::Worker } else { MemberRole::Manager };
    let (ca, _) = cluster_keys(context, cluster)?;
    let names = member_names(machine, member.address);
    let pair = new_member_pair(&machine.place.dir, &ca, (machine.record.id, role), &names)?;
    Ok(vec![
        ("/var/lib/fleet/tls/identity.pem", format!("{}{}", pair.cert, pair.key), 0o600),
        ("/var/lib/fleet/tls/cert.pem", pair.cert, 0o644),
        ("/var/lib/fleet/tls/key.pem", pair.key, 0o600),
    ])
}

/// A member's certificate under these names: the one in `dir` if it is good, else a new one.
pub(crate) fn member_pair(
    dir: &Path,
    ca: &Pair,
    (id, role): (Uuid, MemberRole),
    names: &[String],
) -> Result<Pair, Failure> {
    let [cert, key] = MEMBER.map(|file| dir.join(file));
    let now = OffsetDateTime::now_utc();
    match read_pair(&cert, &key)?.filter(|pair| is_good(pair, ca, names, now)) {
        Some(pair) => Ok(pair),
        None => new_member_pair(dir, ca, (id, role), names),
    }
}

fn new_member_pair(
    dir: &Path,
    ca: &Pair,
    (id, role): (Uuid, MemberRole),
    names: &[String],
) -> Result<Pair, Failure> {
    let [cert, key] = MEMBER.map(|file| dir.join(file));
    let (id, now) = (id.simple().to_string(), OffsetDateTime::now_utc());
    let signed = || -> Result<Pair, PkiError> {
        let SigningRequest { request, key } = SigningRequest::create(&id)?;
        let authority = Authority::load(&ca.cert, &ca.key)?;
        let cert = authority.sign(&request, &id, names, role, now, CERTIFICATE_LIFE)?;
        Ok(Pair { cert, key })
    };
    let pair = signed().map_err(|error| pki(&error))?;
    write_unsynced(&key, pair.key.as_bytes(), 0o600)?;
    write_unsynced(&cert, pair.cert.as_bytes(), 0o644)?;
    Ok(pair)
}

/// The list of revoked certificates that a machine begins with.
pub(crate) fn no_revocations(ca: &Pair) -> Result<String, Failure> {
    load(ca)?.revocation_list(&[], 0, OffsetDateTime::now_utc()).map_err(|error| pki(&error))
}

fn load(ca: &Pair) -> Result<Authority, Failure> {
    Authority::load(&ca.cert, &ca.key).map_err(|error| pki(&error))
}

fn plain(pair: &fleet_join::Pair) -> Pair {
    Pair { cert: pair.cert.clone(), key: pair.key.clone() }
}

fn pki(error: &PkiError) -> Failure {
    Failure::because("could not make a certificate of the cluster", error)
}

fn is_good(pair: &Pair, ca: &Pair, names: &[String], now: OffsetDateTime) -> bool {
    Certificate::read(&pair.cert, &ca.cert)
        .is_ok_and(|cert| cert.signed_by_authority && !cert.is_old(now) && cert.covers(names))
        && key_matches(&pair.cert, &pair.key)
}
