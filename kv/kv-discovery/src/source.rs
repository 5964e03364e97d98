//! A place where members are listed.

use std::{io, path::PathBuf, time::Duration};

use http::Method;
use kv_client::{
    Client, Config, ConfigError,
    fetch::{FetchError, fetch},
};

use crate::{PatternError, expand};

const LIMIT: Duration = Duration::from_secs(10);

/// Where members are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Nodes(Vec<String>),
    File(PathBuf),
    /// Base URL of the service, and the token.
    Token {
        service: String,
        id: String,
    },
    Etcd {
        endpoints: Vec<String>,
        prefix: String,
    },
}

/// Why members cannot be found or told.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("`{0}` is not a discovery URL: use nodes://, file://, token:// or etcd://")]
    Url(String),
    #[error("{0}:// is not supported: use etcd:// with an etcd or kvd instead")]
    Unsupported(String),
    #[error("`{0}` names no token service: use token://HOST[:PORT]/ID")]
    NoService(String),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("could not read `{}`", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the token service does not answer")]
    Fetch(#[from] FetchError),
    #[error("{url} answered {status}: {text}")]
    Answer { url: String, status: u16, text: String },
    #[error("cannot ask etcd")]
    Config(#[from] ConfigError),
    #[error("etcd does not answer")]
    Etcd(#[from] kv_client::Error),
    #[error("members cannot be added to a {0}: it is written by hand")]
    ReadOnly(&'static str),
}

impl Source {
    /// Understands a URL. `default_service` (such as `http://10.0.0.1:2379`) is asked when a token names none.
    ///
    /// # Errors
    /// When it is none, or of a kind that is not supported.
    pub fn parse(url: &str, default_service: Option<&str>) -> Result<Self, DiscoveryError> {
        let bad = || DiscoveryError::Url(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        match scheme {
            "nodes" => {
                let lists = rest
                    .split(',')
                    .filter(|entry| !entry.is_empty())
                    .map(expand)
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Self::Nodes(lists.concat()))
            }
            "file" if !rest.is_empty() => Ok(Self::File(rest.into())),
            "token" => match (rest.rsplit_once('/'), default_service) {
                (Some((host, id)), _) if !host.is_empty() && !id.is_empty() => {
                    Ok(Self::Token { service: format!("http://{host}"), id: id.to_owned() })
                }
                (None, Some(service)) if !rest.is_empty() => {
                    Ok(Self::Token { service: service.trim_end_matches('/').to_owned(), id: rest.to_owned() })
                }
                (None, None) => Err(DiscoveryError::NoService(url.to_owned())),
                _ => Err(bad()),
            },
            "etcd" => {
                let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let endpoints: Vec<String> =
                    hosts.split(',').filter(|h| !h.is_empty()).map(str::to_owned).collect();
                if endpoints.is_empty() {
                    Err(bad())
                } else {
                    Ok(Self::Etcd { endpoints, prefix: prefix.to_owned() })
                }
            }
            "consul" | "zk" => Err(DiscoveryError::Unsupported(scheme.to_owned())),
            _ => Err(bad()),
        }
    }

    /// The members listed now, without repeats.
    ///
    /// # Errors
    /// When the place cannot be looked at.
    pub async fn entries(&self) -> Result<Vec<String>, DiscoveryError> {
        let mut entries = match self {
            Self::Nodes(nodes) => nodes.clone(),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| DiscoveryError::File { path: path.clone(), source })?;
                let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
                lines.filter(|line| !line.is_empty()).map(expand).collect::<Result<Vec<_>, _>>()?.concat()
            }
            Self::Token { service, id } => {
                let text = ask(Method::GET, &format!("{service}/v1/clusters/{id}"), None).await?;
                serde_json::from_str::<Option<Vec<String>>>(&text).ok().flatten().unwrap_or_default()
            }
            Self::Etcd { endpoints, prefix } => {
                let pairs = Client::new(Config::new(endpoints.clone()))?.get_prefix(key(prefix, "")).await?;
                pairs.kvs.iter().map(|pair| String::from_utf8_lossy(&pair.value).into_owned()).collect()
            }
        };
        let mut seen = std::collections::BTreeSet::new();
        entries.retain(|entry| seen.insert(entry.clone()));
        Ok(entries)
    }

    /// Lists a member, for about `ttl` where the place forgets by itself; of our own token service 0
    /// asks not to forget.
    ///
    /// # Errors
    /// When the place does not take it.
    pub async fn register(&self, entry: &str, ttl: Duration) -> Result<(), DiscoveryError> {
        match self {
            Self::Nodes(_) => Err(DiscoveryError::ReadOnly("list of nodes")),
            Self::File(_) => Err(DiscoveryError::ReadOnly("file")),
            Self::Token { service, id } => {
                let url = format!("{service}/v1/clusters/{id}?ttl={}", ttl.as_secs());
                ask(Method::POST, &url, Some(entry.to_owned())).await.map(drop)
            }
            Self::Etcd { endpoints, prefix } => {
                let client = Client::new(Config::new(endpoints.clone()))?;
                let lease = client.lease_grant(ttl, 0).await?.id;
                client.put_leased(key(prefix, entry), entry.to_owned(), lease).await?;
                Ok(())
            }
        }
    }

    /// Makes a new token at a service; answers its id.
    ///
    /// # Errors
    /// When the service does not answer.
    pub async fn new_token(service: &str) -> Result<String, DiscoveryError> {
        let text = ask(Method::POST, &format!("{}/v1/clusters", service.trim_end_matches('/')), None).await?;
        Ok(text.trim().trim_matches('"').to_owned())
    }
}

/// libkv's place for a swarm's nodes.
fn key(prefix: &str, entry: &str) -> String {
    let prefix = prefix.trim_matches('/');
    let separator = if prefix.is_empty() { "" } else { "/" };
    format!("{prefix}{separator}docker/swarm/nodes/{entry}")
}

async fn ask(method: Method, url: &str, body: Option<String>) -> Result<String, DiscoveryError> {
    let (status, _, text) = fetch(method, url, body, None, LIMIT).await?;
    if (200..300).contains(&status) {
        Ok(text)
    } else {
        Err(DiscoveryError::Answer { url: url.to_owned(), status, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood_or_refused_with_advice() {
        let parse = |url| Source::parse(url, None);
        assert_eq!(
            parse("nodes://a:1,b:[2:3]").expect("nodes"),
            Source::Nodes(vec!["a:1".into(), "b:2".into(), "b:3".into()])
        );
        let token = Source::Token { service: "http://h:1".into(), id: "abc".into() };
        assert_eq!(parse("token://h:1/abc").expect("token"), token);
        assert_eq!(Source::parse("token://abc", Some("http://h:1/")).expect("token"), token);
        let etcd = Source::Etcd { endpoints: vec!["a:1".into(), "b:2".into()], prefix: "p/q".into() };
        assert_eq!(parse("etcd://a:1,b:2/p/q").expect("etcd"), etcd);
        assert!(parse("token://abc").expect_err("no service").to_string().contains("token://HOST"));
        assert!(parse("zk://a").expect_err("unsupported").to_string().contains("etcd://"));
        assert!(parse("gopher://a").is_err());
    }

    #[tokio::test]
    async fn a_file_is_read_again_at_every_look() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("nodes");
        std::fs::write(&path, "# ours\n10.0.0.[1:2]:2375 # two\n\n10.0.0.1:2375\n").expect("written");
        let source = Source::parse(&format!("file://{}", path.display()), None).expect("file");
        assert_eq!(source.entries().await.expect("read"), ["10.0.0.1:2375", "10.0.0.2:2375"]);
        std::fs::write(&path, "x:1\n").expect("written");
        assert_eq!(source.entries().await.expect("read"), ["x:1"]);
        assert!(source.register("y:1", LIMIT).await.is_err());
    }
}
