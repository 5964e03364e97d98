//! Joining a cluster that exists: the others know us by our peer URLs, since somebody added us.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{BootstrapError, Identity, fetch};
use crate::config::Config;

#[derive(Deserialize)]
struct Listed {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
}

/// Asks each other member until one tells who we are.
pub(super) async fn ask(config: &Config) -> Result<Identity, BootstrapError> {
    let tls = crate::peer::client_tls(&config.peer_tls).map_err(BootstrapError::Wire)?;
    let others: Vec<&String> = config
        .initial_cluster
        .values()
        .flatten()
        .filter(|url| !config.advertise_peer.contains(url))
        .collect();
    for _ in 0..20 {
        for url in &others {
            let asked = format!("{url}/members");
            let limit = Duration::from_secs(2);
            let Ok((200, headers, text)) = fetch(http::Method::GET, &asked, None, tls.as_ref(), limit).await
            else {
                continue;
            };
            let cluster = headers
                .get("x-etcd-cluster-id")
                .and_then(|id| u64::from_str_radix(id.to_str().ok()?, 16).ok());
            let (Some(cluster_id), Ok(members)) = (cluster, serde_json::from_str::<Vec<Listed>>(&text))
            else {
                continue;
            };
            let ours =
                |member: &&Listed| member.peer_urls.iter().any(|url| config.advertise_peer.contains(url));
            return match members.iter().find(ours) {
                Some(member) => Ok(Identity { cluster_id, member_id: member.id, founders: BTreeMap::new() }),
                None => Err(BootstrapError::NotAMember(config.advertise_peer.join(","))),
            };
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let asked = others.into_iter().cloned().collect::<Vec<_>>().join(", ");
    Err(BootstrapError::NobodyAnswers(asked))
}
