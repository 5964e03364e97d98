//! DigitalOcean's API (v2) as far as a driver needs it. Calls that change nothing, or can be repeated
//! without harm, are repeated here; making a droplet is not one of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::DropletConfig;
use crate::retry::{Backoff, retry_after};

/// How patient calls are.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// One request.
    pub request: Duration,
    /// All tries of one call.
    pub call: Duration,
    /// The first pause between tries.
    pub pause: Duration,
    /// Between two looks at something that takes its time.
    pub poll: Duration,
    /// How long a droplet that was made may be missing in lists.
    pub settle: Duration,
    /// How long a droplet may take until it has an address.
    pub boot: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            call: Duration::from_secs(180),
            pause: Duration::from_millis(500),
            poll: Duration::from_secs(3),
            settle: Duration::from_secs(20),
            boot: Duration::from_secs(300),
        }
    }
}

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// It could not even be asked.
    #[error("could not set up calls to DigitalOcean")]
    Setup(#[source] reqwest::Error),
    /// It said no.
    #[error("DigitalOcean refuses to {what}: {said} ({status})")]
    Refused {
        /// What was asked for.
        what: String,
        /// Its status code.
        status: u16,
        /// Its words.
        said: String,
    },
    /// It has no such thing.
    #[error("DigitalOcean has no such thing: {0}")]
    Gone(String),
    /// Nobody knows whether it was done: no answer, or one that makes no sense.
    #[error("DigitalOcean gave no answer when asked to {what}: {reason}")]
    Lost {
        /// What was asked for.
        what: String,
        /// What happened.
        reason: String,
        /// When it asks to be asked again.
        after: Option<Duration>,
    },
}

impl ApiError {
    /// Whether asking again may help.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// A droplet as the API describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Droplet {
    /// Its number.
    pub id: u64,
    /// new, active, off or archive.
    pub status: String,
    #[serde(default)]
    networks: Networks,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Networks {
    #[serde(default)]
    v4: Vec<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Address {
    ip_address: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Droplet {
    /// Its public IPv4 address, once it has one.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        let public = self.networks.v4.iter().find(|address| address.kind == "public")?;
        Some(&public.ip_address)
    }
}

/// rmachine is a static program, in which the C library resolves no names.
struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = kv_client::resolve::lookup(name.as_str()).await?;
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// A way to DigitalOcean.
pub struct Api {
    client: Client,
    base: String,
    token: String,
    timing: Timing,
}

impl Api {
    /// To this endpoint with this token, which stays in memory.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(base: &str, token: &str, timing: Timing) -> Result<Self, ApiError> {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(Names))
            .user_agent(concat!("rmachine/", env!("CARGO_PKG_VERSION")))
            .timeout(timing.request)
            .redirect(reqwest::redirect::Policy::none())
            // A connection that was closed meanwhile must not look like a lost answer.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(ApiError::Setup)?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned(), token: token.to_owned(), timing })
    }

    /// How patient it is.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The droplets with this tag.
    ///
    /// # Errors
    /// No answer within the limit, or a refusal.
    pub async fn droplets(&self, tag: &str) -> Result<Vec<Droplet>, ApiError> {
        let path = format!("/v2/droplets?tag_name={tag}&per_page=200");
        let answer = self.patiently(Method::GET, &path, None, "list droplets").await?;
        take(&answer["droplets"], "list droplets")
    }

    /// One droplet.
    ///
    /// # Errors
    /// It is gone, no answer within the limit, or a refusal.
    pub async fn droplet(&self, id: u64) -> Result<Droplet, ApiError> {
        let answer =
            self.patiently(Method::GET, &format!("/v2/droplets/{id}"), None, "show the droplet").await?;
        take(&answer["droplet"], "show the droplet")
    }

    /// Makes a droplet. Asks once only: whether it was made must be looked up before asking again.
    ///
    /// # Errors
    /// A refusal, or a lost answer.
    pub async fn create_droplet(
        &self,
        config: &DropletConfig,
        key: u64,
        user_data: &str,
    ) -> Result<Droplet, ApiError> {
        let mut tags = config.tags.clone();
        tags.push(config.tag());
        let image = config.image.parse::<u64>().map_or_else(|_| json!(config.image), |id| json!(id));
        let wish = json!({
            "name": config.machine_name, "region": config.region, "size": config.size, "image": image,
            "ssh_keys": [key], "backups": config.backups, "ipv6": config.ipv6,
            "monitoring": config.monitoring, "tags": tags, "user_data": user_data,
        });
        let answer = self.once(Method::POST, "/v2/droplets", Some(&wish), "make the droplet").await?;
        take(&answer["droplet"], "make the droplet")
    }

    /// Removes all droplets with this tag; none is fine.
    ///
    /// # Errors
    /// No answer within the limit, or a refusal.
    pub async fn delete_droplets(&self, tag: &str) -> Result<(), ApiError> {
        let path = format!("/v2/droplets?tag_name={tag}");
        self.delete(&path, "remove the droplet").await
    }

    /// Removes one droplet; gone is fine.
    ///
    /// # Errors
    /// No answer within the limit, or a refusal.
    pub async fn delete_droplet(&self, id: u64) -> Result<(), ApiError> {
        self.delete(&format!("/v2/droplets/{id}"), "remove the droplet").await
    }

    /// The key of this name, made if it is missing. Repeating it does no harm: keys are unique.
    ///
    /// # Errors
    /// No answer within the limit, or a refusal.
    pub async fn key(&self, name: &str, public: &str) -> Result<u64, ApiError> {
        let start = Instant::now();
        let mut attempt = 0;
        loop {
            if let Some(id) = self.find_key(name).await? {
                return Ok(id);
            }
            let wish = json!({ "name": name, "public_key": public.trim() });
            match self.once(Method::POST, "/v2/account/keys", Some(&wish), "add the ssh key").await {
                Ok(answer) => match answer["ssh_key"]["id"].as_u64() {
                    Some(id) => return Ok(id),
                    None => attempt += 1,
                },
                // It is in use already: the answer to an earlier call was lost, and lists are late.
                Err(ApiError::Refused { status: 422, .. }) if start.elapsed() < self.timing.settle => {}
                Err(error) if error.is_lost() && start.elapsed() < self.timing.call => {}
                Err(error) => return Err(error),
            }
            if start.elapsed() >= self.timing.call {
                let reason = "it gives no number to the key".to_owned();
                return Err(ApiError::Lost { what: "add the ssh key".into(), reason, after: None });
            }
            tokio::time::sleep(self.backoff().pause(attempt, rand::random())).await;
            attempt += 1;
        }
    }

    /// The number of the key of this name.
    ///
    /// # Errors
    /// No answer within the limit, or a refusal.
    pub async fn find_key(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let mut page = 1;
        loop {
            let path = format!("/v2/account/keys?per_page=200&page={page}");
            let answer = self.patiently(Method::GET, &path, None, "list ssh keys").await?;
            let keys = answer["ssh_keys"].as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(key) = keys.iter().find(|key| key["name"] == *name) {
                return Ok(key["id"].as_u64());
            }
            if keys.len() < 200 || page >= 50 {
                return Ok(None);
            }
            page += 1;
        }
    }

    /// Removes a key; gone is fine.
    ///
    /// # Errors
    /// No answer within the limit, or a refusal.
    pub async fn delete_key(&self, id: u64) -> Result<(), ApiError> {
        self.delete(&format!("/v2/account/keys/{id}"), "remove the ssh key").await
    }

    /// Does something to a droplet and waits until it is done.
    ///
    /// # Errors
    /// It failed, or there is no answer within the limit.
    pub async fn act(&self, id: u64, action: &str) -> Result<(), ApiError> {
        let what = format!("{} the droplet", action.replace('_', " "));
        let path = format!("/v2/droplets/{id}/actions");
        let answer = self.patiently(Method::POST, &path, Some(&json!({ "type": action })), &what).await?;
        let Some(number) = answer["action"]["id"].as_u64() else { return Ok(()) };
        let start = Instant::now();
        loop {
            let state = self.patiently(Method::GET, &format!("/v2/actions/{number}"), None, &what).await?;
            match state["action"]["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("errored") => {
                    let said = "the action failed".to_owned();
                    return Err(ApiError::Refused { what, status: 200, said });
                }
                _ if start.elapsed() >= self.timing.call => {
                    let reason = format!("not done within {} s", self.timing.call.as_secs());
                    return Err(ApiError::Lost { what, reason, after: None });
                }
                _ => tokio::time::sleep(self.timing.poll).await,
            }
        }
    }

    async fn delete(&self, path: &str, what: &str) -> Result<(), ApiError> {
        match self.patiently(Method::DELETE, path, None, what).await {
            Ok(_) | Err(ApiError::Gone(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks again while the answer is lost, until the limit.
    async fn patiently(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        what: &str,
    ) -> Result<Value, ApiError> {
        let start = Instant::now();
        for attempt in 0.. {
            match self.once(method.clone(), path, body, what).await {
                Err(ApiError::Lost { what, reason, after }) => {
                    let pause = after.unwrap_or_else(|| self.backoff().pause(attempt, rand::random()));
                    if start.elapsed() + pause >= self.timing.call {
                        return Err(ApiError::Lost { what, reason, after: None });
                    }
                    tracing::debug!(what, reason, ?pause, "asking DigitalOcean again");
                    tokio::time::sleep(pause).await;
                }
                done => return done,
            }
        }
        unreachable!("the loop ends by the limit only")
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        what: &str,
    ) -> Result<Value, ApiError> {
        let lost = |reason: String, after| ApiError::Lost { what: what.to_owned(), reason, after };
        let is_delete = method == Method::DELETE;
        let mut request =
            self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        // The URL is in reqwest's errors, the token is not.
        let response = request.send().await.map_err(|error| lost(chain(&error), None))?;
        let status = response.status();
        let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|value| retry_after(value, SystemTime::now()));
        let text = response.text().await.map_err(|error| lost(chain(&error), after))?;
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        match status {
            StatusCode::NO_CONTENT => Ok(Value::Null),
            StatusCode::NOT_FOUND => Err(ApiError::Gone(what.to_owned())),
            status if status.is_success() && is_delete => Ok(Value::Null),
            status if status.is_success() => {
                answer.ok_or_else(|| lost("its answer is no JSON".to_owned(), after))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(lost(status.to_string(), after))
            }
            status if status.is_server_error() => Err(lost(status.to_string(), after)),
            status => {
                let said =
                    answer.as_ref().and_then(|answer| answer["message"].as_str()).unwrap_or("no reason");
                let (what, said) = (what.to_owned(), said.to_owned());
                Err(ApiError::Refused { what, status: status.as_u16(), said })
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff { first: self.timing.pause, most: self.timing.pause * 32 }
    }
}

fn take<T: serde::de::DeserializeOwned>(value: &Value, what: &str) -> Result<T, ApiError> {
    serde_json::from_value(value.clone()).map_err(|error| ApiError::Lost {
        what: what.to_owned(),
        reason: format!("its answer makes no sense: {error}"),
        after: None,
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
