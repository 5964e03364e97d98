//! Which cluster a member belongs to, and under which id.
//!
//! Founders derive all ids from the peer URLs and the token, as etcd does, so that they agree without talking. A
//! member of an existing cluster asks the others, who were told of it by `member add`. What came out is written
//! down, and from then on only that counts.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use kv_core::View;
use kv_raft::Peer;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::{Config, ConfigError, parse_cluster};

mod discover;
mod join;

/// Why a member does not know where it belongs.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("could not use `{}`", .path.display())]
    Identity {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot fetch cluster info from peer urls: no member of {0} answered")]
    NobodyAnswers(String),
    #[error(
        "error validating peerURLs {0}: this member is not in the existing cluster; `member add` it first"
    )]
    NotAMember(String),
    #[error("discovery at {url} failed: {reason}")]
    Discovery { url: String, reason: String },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("could not set up calls to other members")]
    Wire(#[source] kv_client::ConfigError),
}

/// Who a member is.
pub(crate) struct Identity {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    /// Everybody who founds the cluster with it; nobody when it joins one.
    pub(crate) founders: BTreeMap<u64, Peer>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    cluster_id: u64,
    member_id: u64,
    founders: BTreeMap<u64, Peer>,
}

pub(crate) async fn identify(config: &Config, dir: &Path, view: &View) -> Result<Identity, BootstrapError> {
    let path = dir.join("identity.json");
    let failed = |source| BootstrapError::Identity { path: path.clone(), source };
    if let Ok(text) = std::fs::read(&path) {
        let Written { cluster_id, member_id, founders } =
            serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
        return Ok(Identity { cluster_id, member_id, founders });
    }
    let identity = if config.existing {
        join::ask(config).await?
    } else {
        let (cluster, token) = match &config.discovery {
            Some(url) => {
                let own: Vec<String> =
                    config.advertise_peer.iter().map(|peer| format!("{}={peer}", config.name)).collect();
                let found = discover::cluster(url, &own.join(","), &config.advertise_peer).await?;
                (parse_cluster(&found)?, url.clone())
            }
            None => (config.initial_cluster.clone(), config.token.clone()),
        };
        found(config, &cluster, &token)
    };
    let _ = view;
    let written = Written {
        cluster_id: identity.cluster_id,
        member_id: identity.member_id,
        founders: identity.founders.clone(),
    };
    write(&path, &serde_json::to_vec_pretty(&written).map_err(|error| failed(error.into()))?)
        .map_err(failed)?;
    Ok(identity)
}

fn found(config: &Config, cluster: &BTreeMap<String, Vec<String>>, token: &str) -> Identity {
    let peers: Vec<Peer> =
        cluster.iter().map(|(name, urls)| Peer { name: name.clone(), urls: urls.clone() }).collect();
    let founders: BTreeMap<u64, Peer> =
        peers.into_iter().map(|peer| (member_id(&peer.urls, token, None), peer)).collect();
    let mut hash = Sha256::new();
    founders.keys().for_each(|id| hash.update(id.to_be_bytes()));
    let cluster_id = first_eight(hash);
    let member_id = member_id(&config.advertise_peer, token, None);
    Identity { cluster_id, member_id, founders }
}

/// A member's id. `joined` makes it unlike any before: an id must never come back with an empty disk.
pub(crate) fn member_id(urls: &[String], token: &str, joined: Option<u64>) -> u64 {
    let mut urls = urls.to_vec();
    urls.sort();
    let mut hash = Sha256::new();
    urls.iter().for_each(|url| hash.update(url));
    hash.update(token);
    if let Some(nonce) = joined {
        hash.update(nonce.to_be_bytes());
    }
    first_eight(hash)
}

fn first_eight(hash: Sha256) -> u64 {
    let digest = hash.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("eight of thirty-two bytes")) | 1
}

/// Writes a file that outlives a power cut: whole, or not at all.
pub(crate) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let next = path.with_extension("new");
    let mut file = std::fs::File::create(&next)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// A GET of a URL, JSON expected; used on peers and discovery services.
pub(crate) async fn fetch(
    method: http::Method,
    url: &str,
    body: Option<String>,
    tls: Option<&kv_client::Tls>,
    limit: Duration,
) -> Result<(u16, http::HeaderMap, String), String> {
    kv_client::fetch::fetch(method, url, body, tls, limit).await.map_err(|error| error.to_string())
}
