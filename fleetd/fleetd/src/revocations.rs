//! Keeps the list of revoked certificates beside the authority's, on machines that hold its key: the store's
//! daemon there lets nobody in who is named in it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fleet_registry::Registry;
use time::OffsetDateTime;

use crate::api::Api;
use crate::config::Config;

const FILE: &str = "crl.pem";
const PAUSE: Duration = Duration::from_secs(2);
/// A machine that becomes a manager, and serial numbers whose time is over.
const LOOK_EACH: Duration = Duration::from_secs(600);

/// Where the list is to be; nothing on machines without an authority.
pub(crate) fn file_of(config: &Config) -> Option<PathBuf> {
    config.authority_key.as_ref()?;
    Some(config.tls[0].as_ref()?.with_file_name(FILE))
}

/// Writes it whenever there is something new, until it is cancelled.
pub(crate) async fn keep(registry: Registry, api: Api, file: PathBuf) {
    loop {
        if let Err(error) = follow(&registry, &api, &file).await {
            tracing::debug!(error = %format!("{error:#}"), "revocations are not known; trying again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(registry: &Registry, api: &Api, file: &Path) -> Result<()> {
    let mut written = None;
    let (_, revision) = registry.revoked().await?;
    let mut watch = registry.watch_revoked(revision).await?;
    loop {
        let (revoked, revision) = registry.revoked().await?;
        let now = OffsetDateTime::now_utc();
        let lasting = revoked.into_iter().filter(|it| it.valid_until > now.unix_timestamp());
        let serials: Vec<String> = lasting.map(|it| it.serial).collect();
        if let Some(authority) = api.signer().authority()
            && written.as_ref() != Some(&serials)
        {
            let list = authority.revocation_list(&serials, u64::try_from(revision).unwrap_or(0), now)?;
            write(file, &list).with_context(|| format!("could not write {}", file.display()))?;
            tracing::info!(revoked = serials.len(), file = %file.display(), "revocation list written");
            written = Some(serials);
        }
        tokio::select! {
            changed = watch.next() => drop(changed?),
            () = tokio::time::sleep(LOOK_EACH) => {}
        }
    }
}

/// Aside and renamed: whoever reads it reads a whole one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
