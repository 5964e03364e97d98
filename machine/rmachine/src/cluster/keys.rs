//! The authority of a cluster, the workstation's certificate of it, and each member's.

use std::path::Path;

use machine_pki::{Certificate, Pair, authority, client, key_matches, member};
use machine_store::write_unsynced;
use machine_types::MachineName;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::context::Context;
use crate::failure::Failure;
use crate::keys::{pki, read_pair, write_pair};

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
            let ca = authority(&organization, now).map_err(|error| pki(&error))?;
            write_pair(&dir.join("ca.pem"), &dir.join("ca-key.pem"), &ca)?;
            ca
        }
    };
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let user = match read_pair(&cert, &key)? {
        Some(pair) if is_good(&pair, &ca, &[], now) => pair,
        _ => {
            let pair = client(&ca, &organization, now).map_err(|error| pki(&error))?;
            write_pair(&cert, &key, &pair)?;
            pair
        }
    };
    Ok((ca, user))
}

/// What a machine is to its cluster, as Docker's swarm calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberRole {
    /// It has a kv.
    Manager,
    /// It only runs units.
    Worker,
}

/// A member's certificate under these names: the one in `dir` if it is good, else a new one.
pub(crate) fn member_pair(
    dir: &Path,
    ca: &Pair,
    cluster: &MachineName,
    (id, role): (Uuid, MemberRole),
    names: &[String],
) -> Result<Pair, Failure> {
    let [cert, key] = MEMBER.map(|file| dir.join(file));
    let now = OffsetDateTime::now_utc();
    if let Some(pair) = read_pair(&cert, &key)?.filter(|pair| is_good(pair, ca, names, now)) {
        return Ok(pair);
    }
    let (id, role) = match role {
        MemberRole::Manager => (id.simple().to_string(), "swarm-manager"),
        MemberRole::Worker => (id.simple().to_string(), "swarm-worker"),
    };
    let pair =
        member(ca, &format!("cluster {cluster}"), &id, role, names, now).map_err(|error| pki(&error))?;
    write_unsynced(&key, pair.key.as_bytes(), 0o600)?;
    write_unsynced(&cert, pair.cert.as_bytes(), 0o644)?;
    Ok(pair)
}

fn is_good(pair: &Pair, ca: &Pair, names: &[String], now: OffsetDateTime) -> bool {
    Certificate::read(&pair.cert, &ca.cert)
        .is_ok_and(|cert| cert.signed_by_authority && !cert.is_old(now) && cert.covers(names))
        && key_matches(&pair.cert, &pair.key)
}
