//! Renews this machine's certificate before it runs out, without a restart.
//!
//! Only a certificate that came by joining is renewed: one that lies in an [`Identity`] directory. A
//! manager signs for itself; a worker asks the managers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fleet_join::{
    CertificateRole, Identity, Issued, Joined, Member, RenewOrder, RenewRequest, SigningRequest, names_of,
};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::api::Api;
use crate::config::Config;

/// How often it looks, unless certificates live so short that it must look oftener.
const LOOK_EACH: Duration = Duration::from_secs(3600);
const AGAIN_AFTER: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(30);

/// The directory that the machine's certificate came to by joining.
pub(crate) fn identity_of(config: &Config) -> Option<Identity> {
    let dir = config.tls[1].as_ref().and_then(|cert| cert.parent()).map(Path::to_owned)?;
    Some(Identity::at(dir)).filter(Identity::exists)
}

/// Looks and renews until it is cancelled; tells when there are new files.
pub(crate) async fn keep(api: Api, identity: Identity, renewed: mpsc::Sender<()>) {
    loop {
        let pause = match look(&api, &identity).await {
            Ok((renewed_now, pause)) => {
                if renewed_now && renewed.send(()).await.is_err() {
                    return;
                }
                pause
            }
            Err(error) => {
                tracing::warn!(error = %format!("{error:#}"), "certificate could not be renewed; trying again");
                AGAIN_AFTER
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// The cluster knows of a certificate that it did not sign itself only by this.
async fn note(api: &Api, identity: &Identity) -> Result<()> {
    let (chain, _) = identity.load()?;
    let (Some(CertificateRole::Machine { id: machine_id, role }), Some(issued)) =
        (CertificateRole::of(&chain[0]), Issued::of(&chain[0]))
    else {
        return Ok(());
    };
    let (names, valid_until) = (names_of(&chain[0]), issued.valid_until);
    let member = Member { machine_id, role, names, valid_until, certificates: Vec::new() };
    Ok(api.note_certificate(member, issued, OffsetDateTime::now_utc().unix_timestamp()).await?)
}

async fn look(api: &Api, identity: &Identity) -> Result<(bool, Duration)> {
    note(api, identity).await?;
    let validity = identity.validity()?;
    let life = validity.until - validity.from;
    let pause = Duration::try_from(life / 20).unwrap_or(LOOK_EACH).min(LOOK_EACH);
    if !validity.is_old(OffsetDateTime::now_utc()) {
        return Ok((false, pause));
    }
    let (chain, _) = identity.load()?;
    let Some(CertificateRole::Machine { id, role }) = CertificateRole::of(&chain[0]) else {
        bail!("the certificate is no machine's");
    };
    // Whoever made the present certificate may not have told the cluster what is in it.
    let names = names_of(&chain[0]);
    let joined = if api.signer().signs() {
        let request = SigningRequest::create(&id)?;
        let wish = RenewRequest { names, request: request.request };
        let reply = api.next_certificate(&id, role, wish).await;
        let reply =
            reply.map_err(|refused| anyhow::anyhow!("this machine refused itself: {}", refused.status()))?;
        Joined {
            authority: reply.authority,
            certificate: reply.certificate,
            key: request.key,
            role,
            authority_key: None,
        }
    } else {
        let members = api.signers().await;
        let members =
            members.map_err(|refused| anyhow::anyhow!("no signing member is known: {}", refused.status()))?;
        let order = RenewOrder { members: &members, identity, machine_id: &id, names: &names, limit: LIMIT };
        fleet_join::renew(&order).await?
    };
    identity.save(&joined).context("the new certificate could not be kept")?;
    tracing::info!(machine = %id, "certificate renewed");
    Ok((true, pause))
}
