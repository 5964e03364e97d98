//! Where the store is: as configured, or as a discovery URL says.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kv_discovery::Source;
use tokio::time::Instant;

use crate::config::Config;

/// Machines that come up together find each other within this time.
const LIMIT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(2);

/// The store's endpoints; waits until the URL names one.
pub(crate) async fn of(config: &Config) -> Result<Vec<String>> {
    let Some(url) = &config.discovery else { return Ok(config.etcd_servers.clone()) };
    let source = Source::parse(url, None).with_context(|| format!("discovery `{url}`"))?;
    let scheme = if config.etcd_tls[0].is_some() { "https" } else { "http" };
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = source.entries().await;
        match found {
            Ok(entries) if !entries.is_empty() => {
                return Ok(entries.iter().map(|entry| format!("{scheme}://{entry}")).collect());
            }
            Ok(_) if Instant::now() >= deadline => bail!("discovery {url} names no store after {LIMIT:?}"),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("discovery {url} does not answer for {LIMIT:?}"));
            }
            Ok(_) => tracing::info!(%url, "discovery names no store yet"),
            Err(error) => {
                tracing::warn!(%url, error = &error as &dyn std::error::Error, "discovery does not answer")
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_discovery_url_names_the_endpoints() -> Result<()> {
        let mut config = Config { discovery: Some("nodes://10.0.0.[1:2]:2379".into()), ..Config::default() };
        assert_eq!(of(&config).await?, ["http://10.0.0.1:2379", "http://10.0.0.2:2379"]);
        config.etcd_tls[0] = Some("/ca.pem".into());
        assert_eq!(of(&config).await?[0], "https://10.0.0.1:2379");
        config.discovery = Some("consul://x".into());
        assert!(
            format!("{:#}", of(&config).await.expect_err("refused")).starts_with("discovery `consul://x`: ")
        );
        Ok(())
    }
}
