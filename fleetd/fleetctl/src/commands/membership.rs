//! `init`, `token`, `join`, `leave`, `remove`, `list-members`: who is in the cluster.

use std::time::{Duration, Instant};

use fleet_join::{
    Authority, CertificateRole, Identity, JoinOrder, JoinToken, Joined, MEMBER_LIFE, MemberRole,
    SigningRequest,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::{InitArgs, JoinArgs, LeaveArgs, RemoveArgs, TokenArgs};
use crate::client::Client;
use crate::commands::drain::full_id;
use crate::failure::Failure;
use crate::table;

const LOOK_EACH: Duration = Duration::from_millis(300);
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Makes the authority of a new cluster, and the certificate of its first manager.
pub(crate) fn init(args: &InitArgs) -> Result<u8, Failure> {
    let identity = Identity::at(&args.dir);
    refuse_second(&identity)?;
    let id = machine_id(args.id.as_deref())?;
    let now = OffsetDateTime::now_utc();
    let joined = || -> Result<Joined, fleet_join::PkiError> {
        let authority = Authority::create(&args.cluster, now)?;
        let request = SigningRequest::create(&id)?;
        let mut names = args.name.clone();
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let certificate =
            authority.sign(&request.request, &id, &names, MemberRole::Manager, now, MEMBER_LIFE)?;
        let pair = authority.pair().clone();
        let (role, authority_key) = (MemberRole::Manager, Some(pair.key));
        Ok(Joined { authority: pair.cert, certificate, key: request.key, role, authority_key })
    };
    let joined = joined().map_err(|error| Failure::Join(Box::new(error.into())))?;
    identity.save(&joined).map_err(|error| Failure::Join(Box::new(error.into())))?;
    say!("Cluster {} begins with manager {id}", args.cluster);
    tell_settings(&identity);
    Ok(0)
}

/// Prints a token, or puts a new one in its place first.
pub(crate) async fn token(client: &Client, args: &TokenArgs) -> Result<u8, Failure> {
    let role: MemberRole = args.role.parse().map_err(Failure::Usage)?;
    if args.expires.is_some() && !args.rotate {
        return Err(Failure::Usage("--expires is for a new token: add --rotate".into()));
    }
    let seconds = args.expires.as_deref().map(seconds).transpose()?;
    let tokens =
        if args.rotate { client.rotate_token(role, seconds).await? } else { client.tokens().await? };
    say!("{}", if role == MemberRole::Worker { tokens.worker } else { tokens.manager });
    Ok(0)
}

/// `90`, `90s`, `15m`, `24h`, `7d`.
fn seconds(text: &str) -> Result<u32, Failure> {
    let refused = || Failure::Usage(format!("--expires {text} is no time: use for example 24h"));
    let (number, factor) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 24 * 3600),
        _ => (text, 1),
    };
    number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(refused)
}

pub(crate) async fn join(args: &JoinArgs) -> Result<u8, Failure> {
    let identity = Identity::at(&args.dir);
    refuse_second(&identity)?;
    let token: JoinToken = args.token.parse().map_err(|error| Failure::Usage(format!("--token: {error}")))?;
    let id = machine_id(args.id.as_deref())?;
    let (began, limit) = (Instant::now(), Duration::from_secs(args.timeout));
    let joined = loop {
        let left = limit.saturating_sub(began.elapsed());
        let (members, names) = (&args.members, &args.name);
        let order = JoinOrder { members, token: &token, machine_id: &id, names, limit: left };
        match fleet_join::join(&order).await {
            Ok(joined) => break joined,
            Err(error @ fleet_join::JoinError::Unreachable(_))
                if args.keep_asking && began.elapsed() + ASK_AGAIN < limit =>
            {
                eprintln!("{error}; asking again");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(Failure::Join(Box::new(error))),
        }
    };
    identity.save(&joined).map_err(|error| Failure::Join(Box::new(error.into())))?;
    say!("Machine {id} joined as {}", joined.role);
    tell_settings(&identity);
    Ok(0)
}

fn refuse_second(identity: &Identity) -> Result<(), Failure> {
    if identity.exists() {
        let path = identity.path("identity.pem");
        return Err(Failure::Usage(format!(
            "this machine is a member already: {} is there; `fleetctl leave` first",
            path.display()
        )));
    }
    Ok(())
}

fn tell_settings(identity: &Identity) {
    let path = |name: &str| identity.path(name).display().to_string();
    eprintln!(
        "hint: fleetd goes on by itself when its settings name these files; else set tls_ca_file={}, \
         tls_cert_file={}, tls_key_file={} and authority_key_file={}, and restart it",
        path("ca.pem"),
        path("cert.pem"),
        path("key.pem"),
        path("ca-key.pem")
    );
}

fn machine_id(given: Option<&str>) -> Result<String, Failure> {
    if let Some(id) = given {
        return Ok(id.to_owned());
    }
    let path = "/etc/machine-id";
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Read { path: path.into(), reason: error.to_string() })?;
    Ok(text.trim().to_owned())
}

/// Moves this machine's units away, takes it out of the cluster, forgets its certificate.
pub(crate) async fn leave(client: &Client, args: &LeaveArgs) -> Result<u8, Failure> {
    let identity = Identity::at(&args.dir);
    let id = match &args.id {
        Some(id) => id.clone(),
        None => id_of(&identity)?,
    };
    client.set_draining(&id, true).await?;
    let began = Instant::now();
    // Global units drain by staying: the removal stops them.
    while client.units().await?.iter().any(|unit| unit.machine_id == id) {
        if began.elapsed() > Duration::from_secs(args.timeout) {
            client.set_draining(&id, false).await?;
            return Err(Failure::Usage(format!(
                "units are still on machine {id} after {} s and cannot move: it stays a member; \
                 `fleetctl why UNIT` tells the reason, `fleetctl remove --force {id}` does not wait",
                args.timeout
            )));
        }
        tokio::time::sleep(LOOK_EACH).await;
    }
    client.remove_machine(&id, true).await?;
    if identity.exists() {
        for name in ["identity.pem", "cert.pem", "key.pem", "ca-key.pem", "ca.pem"] {
            let _ = std::fs::remove_file(identity.path(name));
        }
    }
    say!("Machine {id} left");
    Ok(0)
}

fn id_of(identity: &Identity) -> Result<String, Failure> {
    let (chain, _) = identity.load().map_err(|error| Failure::Join(Box::new(error.into())))?;
    match CertificateRole::of(&chain[0]) {
        Some(CertificateRole::Machine { id, .. }) => Ok(id),
        _ => Err(Failure::Usage("the certificate is no machine's: name the machine with --id".into())),
    }
}

pub(crate) async fn remove(client: &Client, args: &RemoveArgs) -> Result<u8, Failure> {
    // One that is lost is in no list of machines; then its whole id is needed.
    let id = full_id(client, &args.machine).await.unwrap_or_else(|_| args.machine.clone());
    client.remove_machine(&id, args.force).await?;
    say!("Machine {id} removed");
    Ok(0)
}

pub(crate) async fn list(client: &Client, json: bool) -> Result<u8, Failure> {
    let page = client.members().await?;
    if json {
        let text =
            serde_json::to_string(&page.members).map_err(|error| Failure::Protocol(error.to_string()))?;
        say!("{text}");
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = page
        .members
        .iter()
        .map(|member| {
            let until = OffsetDateTime::from_unix_timestamp(member.valid_until).ok();
            let until = until.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| "-".into());
            vec![member.machine_id.clone(), member.role.to_string(), until, member.names.join(",")]
        })
        .collect();
    table::print(&["machine", "role", "certificate until", "names"], &rows, true);
    Ok(0)
}
