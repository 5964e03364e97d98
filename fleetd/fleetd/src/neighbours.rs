//! Other machines' daemons, asked whether this machine was removed while it could not see the store: the
//! store lets nobody in whose certificate was revoked, so it cannot tell.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use crate::api::peer::Question;
use crate::api::{Api, NO_MEMBER};
use crate::config::Config;

const LIMIT: Duration = Duration::from_secs(3);
/// Not oftener than this.
const ASK_EACH: Duration = Duration::from_secs(10);

/// The daemons of the machines that the store is on.
pub struct Neighbours {
    api: Api,
    addresses: Vec<String>,
    asked: Option<Instant>,
}

impl Neighbours {
    /// From the configuration; nobody where there is no TLS to know them by.
    pub(crate) fn of(config: &Config, api: &Api) -> Option<Self> {
        let port = config.listen.iter().find(|it| !it.starts_with('/'))?.rsplit_once(':')?.1;
        let host = |url: &String| {
            let (_, rest) = url.split_once("://")?;
            let (host, _) = rest.trim_end_matches('/').rsplit_once(':')?;
            (!["127.0.0.1", "localhost", "[::1]"].contains(&host)).then(|| format!("{host}:{port}"))
        };
        let addresses: Vec<String> = config.etcd_servers.iter().filter_map(host).collect();
        (!addresses.is_empty()).then(|| Self { api: api.clone(), addresses, asked: None })
    }

    /// Whether one of them says so; none of them knowing is no word for it, nor is having been asked just now.
    pub(crate) async fn say_removed(&mut self) -> bool {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_EACH) {
            return false;
        }
        self.asked = Some(Instant::now());
        let asked = async {
            for address in &self.addresses {
                if self.says_removed(address).await {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(LIMIT, asked).await.unwrap_or(false)
    }

    async fn says_removed(&self, address: &str) -> bool {
        let Some(identity) = self.api.identity() else { return false };
        let asked = Question::get(address, "/fleet/v1/machines").ask(identity).await;
        let Ok((StatusCode::FORBIDDEN, body)) = asked else { return false };
        let Ok(body) = body.collect().await;
        String::from_utf8_lossy(&body.to_bytes()).contains(NO_MEMBER)
    }
}
