//! Talking to one repository of one registry: the endpoint that answers, the token it wants, its errors.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::auth::{Auth, Challenge, challenge};
use super::{Endpoint, Registry, registry_error};
use crate::error::{ImageError, Result};

const PATIENCE: Duration = Duration::from_secs(60);
const LARGEST_ANSWER: usize = 4 << 20;

/// A repository at an endpoint that answered.
pub(super) struct Session {
    client: reqwest::Client,
    pub endpoint: Endpoint,
    repository: String,
    auth: Auth,
    /// What we want to do: `pull` or `pull,push`.
    actions: String,
    /// Other repositories that layers may be mounted from.
    pub also: Vec<String>,
    authorization: Mutex<Option<String>>,
    /// For a login: the token that stands for the password from now on.
    login: Option<Mutex<String>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<ErrorItem>,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Session {
    /// Finds the first endpoint that speaks the protocol.
    pub(super) async fn open(
        registry: &Registry,
        domain: &str,
        repository: &str,
        auth: &Auth,
        actions: &str,
    ) -> Result<Self> {
        let mut failure = None;
        for endpoint in registry.endpoints(domain) {
            let url = endpoint.url.clone();
            match Self::at(registry, endpoint, repository, auth, actions).await {
                Ok(session) => return Ok(session),
                Err(error) => {
                    tracing::debug!(%url, error = %error.report(), "registry endpoint does not answer");
                    // Of https and then http on the same host, Docker reports the last.
                    failure = Some(error);
                }
            }
        }
        Err(failure.unwrap_or_else(|| registry_error("no registry endpoint", 500)))
    }

    /// At a mirror. It serves everyone; the password for what it mirrors is not its to see.
    pub(super) async fn at_mirror(registry: &Registry, mirror: Endpoint, repository: &str) -> Result<Self> {
        Self::at(registry, mirror, repository, &Auth::default(), "pull").await
    }

    /// At this endpoint, if it speaks the protocol.
    async fn at(
        registry: &Registry,
        endpoint: Endpoint,
        repository: &str,
        auth: &Auth,
        actions: &str,
    ) -> Result<Self> {
        let session = Self {
            client: registry.client(&endpoint)?,
            endpoint,
            repository: repository.to_owned(),
            auth: auth.clone(),
            actions: actions.to_owned(),
            also: Vec::new(),
            authorization: Mutex::new(None),
            login: None,
        };
        session.ping().await.map(|()| session)
    }

    async fn ping(&self) -> Result<()> {
        let url = format!("{}/v2/", self.endpoint.url);
        let response = send(self.client.get(&url).timeout(PATIENCE), &url, "Get").await?;
        match response.status() {
            StatusCode::OK | StatusCode::UNAUTHORIZED => Ok(()),
            status => {
                Err(registry_error(format!("{url} answered {status}: it is no registry of version 2"), 500))
            }
        }
    }

    /// Asks with the credentials, for `docker login`. What comes back may be kept instead of the password.
    pub(super) async fn check_login(&mut self) -> Result<String> {
        self.login = Some(Mutex::default());
        let url = format!("{}/v2/", self.endpoint.url);
        let response = self.request(Method::GET, &url, |request| request).await?;
        match response.status() {
            StatusCode::OK => Ok(self.login.take().map(Mutex::into_inner).unwrap_or_default()),
            _ => Err(failure(response, &url).await),
        }
    }

    pub(super) fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.endpoint.url, self.repository)
    }

    /// Makes a location from a header absolute.
    pub(super) fn absolute(&self, location: &str) -> String {
        if location.contains("://") {
            location.to_owned()
        } else {
            format!("{}{location}", self.endpoint.url)
        }
    }

    /// Sends, and again with a token if the registry wants one.
    pub(super) async fn request(
        &self,
        method: Method,
        url: &str,
        shape: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let verb = capital(method.as_str());
        for last in [false, true] {
            let mut request = shape(self.client.request(method.clone(), url));
            // Upload locations may be elsewhere; credentials are for the endpoint only.
            let held = self.authorization.lock().await.clone();
            let sent = held.filter(|_| url.starts_with(&self.endpoint.url));
            if let Some(authorization) = &sent {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let response = send(request, url, &verb).await?;
            if response.status() != StatusCode::UNAUTHORIZED || last {
                return Ok(response);
            }
            if !self.authorize(&response, sent.as_deref()).await? {
                return Ok(response);
            }
        }
        Err(registry_error("unauthorized: authentication required", 401))
    }

    /// One request with a body that can be sent once: the token must be there already.
    pub(super) async fn request_once(
        &self,
        request: impl FnOnce(&reqwest::Client) -> RequestBuilder,
        url: &str,
    ) -> Result<Response> {
        let mut request = request(&self.client);
        let authorization = self.authorization.lock().await.clone();
        if let Some(authorization) = authorization.filter(|_| url.starts_with(&self.endpoint.url)) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        send(request, url, "Put").await
    }

    /// Gets what the challenge to a request `sent` with this authorization wants. False if there is nothing
    /// to answer it with.
    ///
    /// Layers go in parallel, so several requests may be challenged at once: the first gets the
    /// authorization while the others wait, and they try again with it.
    async fn authorize(&self, response: &Response, sent: Option<&str>) -> Result<bool> {
        let mut held = self.authorization.lock().await;
        if held.is_some() && held.as_deref() != sent {
            return Ok(true);
        }
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
        let Some(challenge) = headers.iter().find_map(|value| challenge(value.to_str().ok()?)) else {
            return Ok(false);
        };
        let authorization = match challenge {
            Challenge::Basic if self.auth.username.is_empty() => return Ok(false),
            Challenge::Basic => {
                use base64::Engine;
                let pair = format!("{}:{}", self.auth.username, self.auth.password);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            Challenge::Bearer { .. } if !self.auth.registry_token.is_empty() => {
                format!("Bearer {}", self.auth.registry_token)
            }
            Challenge::Bearer { realm, service, scope } => {
                format!("Bearer {}", self.token(&realm, &service, &scope).await?)
            }
        };
        // The same answer again would get the same refusal.
        if sent == Some(&authorization) && authorization.starts_with("Basic") {
            return Ok(false);
        }
        *held = Some(authorization);
        Ok(true)
    }

    async fn token(&self, realm: &str, service: &str, asked: &str) -> Result<String> {
        let mut scopes: Vec<String> = Vec::new();
        if !self.repository.is_empty() {
            scopes.push(format!("repository:{}:{}", self.repository, self.actions));
        } else if !asked.is_empty() {
            scopes.push(asked.to_owned());
        }
        scopes.extend(self.also.iter().map(|other| format!("repository:{other}:pull")));
        let request = if self.auth.identity_token.is_empty() {
            let mut query: Vec<(&str, &str)> = vec![("service", service)];
            query.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
            if !self.auth.username.is_empty() {
                query.push(("account", &self.auth.username));
            }
            if self.login.is_some() {
                query.extend([("offline_token", "true"), ("client_id", "docker")]);
            }
            let request = self.client.get(with_query(realm, &query));
            match self.auth.username.as_str() {
                "" => request,
                user => request.basic_auth(user, Some(&self.auth.password)),
            }
        } else {
            let scope = scopes.join(" ");
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service),
                ("client_id", "docker"),
                ("scope", &scope),
                ("refresh_token", &self.auth.identity_token),
            ];
            let body = with_query("", &form);
            let kind = "application/x-www-form-urlencoded";
            self.client
                .post(realm)
                .header(header::CONTENT_TYPE, kind)
                .body(body.trim_start_matches('?').to_owned())
        };
        let response = send(request.timeout(PATIENCE), realm, "Get").await?;
        if !response.status().is_success() {
            return Err(failure(response, realm).await);
        }
        let bytes = bounded(response, LARGEST_ANSWER, realm).await?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|error| registry_error(format!("{realm} gave no readable token: {error}"), 500))?;
        if let Some(login) = &self.login {
            *login.lock().await = token.refresh_token;
        }
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        if token.is_empty() {
            return Err(registry_error("authorization server did not include a token in the response", 500));
        }
        Ok(token)
    }
}

fn with_query(url: &str, pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (byte as char).to_string(),
            other => format!("%{other:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    format!("{url}{}{}", if url.contains('?') { '&' } else { '?' }, query.join("&"))
}

async fn send(request: RequestBuilder, url: &str, verb: &str) -> Result<Response> {
    request.send().await.map_err(|error| registry_error(format!("{verb} \"{url}\": {}", cause(&error)), 500))
}

/// The innermost reasons of a failed request, without the URL again.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut source = std::error::Error::source(error);
    let mut reason = if error.is_timeout() { "timed out".to_owned() } else { error.to_string() };
    while let Some(inner) = source {
        reason = inner.to_string();
        source = inner.source();
    }
    let refused = reason.starts_with("Connection refused");
    match (plain(&reason), error.url()) {
        (text, Some(url)) if refused => {
            let host = url.host_str().unwrap_or_default();
            format!("dial tcp {host}:{}: connect: {text}", url.port_or_known_default().unwrap_or_default())
        }
        (text, _) => text,
    }
}

/// The kernel's sentence without Rust's number behind it, in small letters as Go has it.
fn plain(reason: &str) -> String {
    let Some((text, number)) = reason.rsplit_once(" (os error ") else { return reason.to_owned() };
    if !number.trim_end_matches(')').bytes().all(|digit| digit.is_ascii_digit()) {
        return reason.to_owned();
    }
    match text.rsplit_once(": ") {
        Some((before, last)) => format!("{before}: {}", last.to_lowercase()),
        None => text.to_lowercase(),
    }
}

/// The body, unless it is larger than anything honest.
pub(super) async fn bounded(mut response: Response, most: usize, url: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let chunk =
            chunk.map_err(|error| registry_error(format!("Get \"{url}\": {}", cause(&error)), 500))?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        bytes.extend_from_slice(&chunk);
        if bytes.len() > most {
            return Err(registry_error(format!("{url} answered more than {most} bytes"), 500));
        }
    }
}

/// What a registry's refusal says: `manifest unknown: manifest unknown`.
pub(super) async fn failure(response: Response, url: &str) -> ImageError {
    let status = response.status();
    let body = bounded(response, 64 << 10, url).await.unwrap_or_default();
    let errors = serde_json::from_slice::<Errors>(&body).map(|errors| errors.errors).unwrap_or_default();
    let message = match errors.first() {
        Some(error) => {
            let code = error.code.to_lowercase().replace('_', " ");
            if error.message.is_empty() { code } else { format!("{code}: {}", error.message) }
        }
        None if status == StatusCode::UNAUTHORIZED => "unauthorized: authentication required".to_owned(),
        None if status == StatusCode::NOT_FOUND => "not found".to_owned(),
        None => format!("received unexpected HTTP status: {status}"),
    };
    registry_error(message, if status.is_client_error() { status.as_u16() } else { 500 })
}

fn capital(method: &str) -> String {
    let lower = method.to_lowercase();
    let mut chars = lower.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
