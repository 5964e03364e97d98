//! Asking the metadata service: patiently while it is not there yet, since a machine may be faster than
//! its cloud's network.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{Answer, ask};
use crate::platform::Platform;

/// The same in every cloud.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)), 80);
const TOKEN: &str = "X-aws-ec2-metadata-token";
const TOKEN_LIFE: (&str, &str) = ("X-aws-ec2-metadata-token-ttl-seconds", "300");
/// One request.
const ONCE: Duration = Duration::from_secs(5);

/// Why a machine does not learn about itself.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// No answer in time.
    #[error("the metadata service of {platform} did not answer within {} s", limit.as_secs())]
    Silent {
        /// Which cloud.
        platform: &'static str,
        /// How long was waited.
        limit: Duration,
        /// What happened last.
        #[source]
        source: io::Error,
    },
    /// An answer that is none.
    #[error("the metadata service of {platform} answered {path} with {what}")]
    Answer {
        /// Which cloud.
        platform: &'static str,
        /// What was asked for.
        path: String,
        /// A status or what is wrong.
        what: String,
    },
}

/// What a cloud says of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Its number or id there.
    pub instance: String,
    /// Its name.
    pub hostname: String,
    /// Keys whose owners may log in, one `authorized_keys` line each.
    pub ssh_keys: Vec<String>,
    /// Address from outside.
    pub public_ipv4: Option<IpAddr>,
    /// Address within the cloud.
    pub private_ipv4: Option<IpAddr>,
}

/// The metadata service of one cloud.
#[derive(Clone, Debug)]
pub struct Service {
    platform: Platform,
    address: SocketAddr,
    limit: Duration,
}

impl Service {
    /// At its usual address; waited for up to `limit`.
    #[must_use]
    pub fn new(platform: Platform, limit: Duration) -> Self {
        Self { platform, address: ADDRESS, limit }
    }

    /// The same at another address, for tests.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The machine's user data, if it was given any.
    ///
    /// # Errors
    /// No answer, or one that is none.
    pub fn user_data(&self) -> Result<Option<Vec<u8>>, MetadataError> {
        let path = match self.platform {
            Platform::DigitalOcean => "/metadata/v1/user-data",
            Platform::Ec2 => "/latest/user-data",
        };
        let token = self.token()?;
        Ok(self.get(path, token.as_deref())?.filter(|data| !data.is_empty()))
    }

    /// Names, addresses and keys.
    ///
    /// # Errors
    /// No answer, or one that is none.
    pub fn metadata(&self) -> Result<Metadata, MetadataError> {
        match self.platform {
            Platform::DigitalOcean => self.digitalocean(),
            Platform::Ec2 => self.ec2(),
        }
    }

    fn digitalocean(&self) -> Result<Metadata, MetadataError> {
        let path = "/metadata/v1.json";
        let text = self.get(path, None)?.unwrap_or_default();
        let all: Value =
            serde_json::from_slice(&text).map_err(|error| self.wrong(path, format!("no JSON: {error}")))?;
        let address = |side: &str| {
            let text = all["interfaces"][side][0]["ipv4"]["ip_address"].as_str()?;
            text.parse().ok()
        };
        let keys = all["public_keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Metadata {
            instance: all["droplet_id"].as_u64().map(|id| id.to_string()).unwrap_or_default(),
            hostname: all["hostname"].as_str().unwrap_or_default().to_owned(),
            ssh_keys: keys.iter().filter_map(|key| Some(key.as_str()?.trim().to_owned())).collect(),
            public_ipv4: address("public"),
            private_ipv4: address("private"),
        })
    }

    fn ec2(&self) -> Result<Metadata, MetadataError> {
        let token = self.token()?;
        let text = |name: &str| {
            let path = format!("/latest/meta-data/{name}");
            let body = self.get(&path, token.as_deref())?.unwrap_or_default();
            Ok::<_, MetadataError>(String::from_utf8_lossy(&body).trim().to_owned())
        };
        let mut ssh_keys = Vec::new();
        // Lines such as `0=name`.
        for line in text("public-keys/")?.lines() {
            let number = line.split('=').next().unwrap_or_default();
            let key = text(&format!("public-keys/{number}/openssh-key"))?;
            if !key.is_empty() {
                ssh_keys.push(key);
            }
        }
        Ok(Metadata {
            instance: text("instance-id")?,
            hostname: text("hostname")?,
            ssh_keys,
            public_ipv4: text("public-ipv4")?.parse().ok(),
            private_ipv4: text("local-ipv4")?.parse().ok(),
        })
    }

    /// EC2's session token; nothing where the service does not know of such.
    fn token(&self) -> Result<Option<String>, MetadataError> {
        if self.platform != Platform::Ec2 {
            return Ok(None);
        }
        let path = "/latest/api/token";
        let answer = self.patiently("PUT", path, &[TOKEN_LIFE])?;
        match answer.status {
            200 => Ok(Some(String::from_utf8_lossy(&answer.body).trim().to_owned())),
            403..=405 => Ok(None),
            status => Err(self.wrong(path, status.to_string())),
        }
    }

    /// A value; nothing where there is none.
    fn get(&self, path: &str, token: Option<&str>) -> Result<Option<Vec<u8>>, MetadataError> {
        let headers: Vec<(&str, &str)> = token.map(|token| (TOKEN, token)).into_iter().collect();
        let answer = self.patiently("GET", path, &headers)?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            status => Err(self.wrong(path, status.to_string())),
        }
    }

    /// Asks until there is an answer that is no trouble of the server's.
    fn patiently(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer, MetadataError> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let left = self.limit.saturating_sub(start.elapsed());
            let last = match ask(self.address, method, path, headers, ONCE.min(left)) {
                Ok(answer) if answer.status < 500 && answer.status != 429 => return Ok(answer),
                Ok(answer) => io::Error::other(format!("status {}", answer.status)),
                Err(error) => error,
            };
            if start.elapsed() + pause >= self.limit {
                let (platform, limit) = (self.platform.name(), self.limit);
                return Err(MetadataError::Silent { platform, limit, source: last });
            }
            tracing::debug!(path, error = %last, "asking the metadata service again");
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn wrong(&self, path: &str, what: String) -> MetadataError {
        MetadataError::Answer { platform: self.platform.name(), path: path.to_owned(), what }
    }
}
