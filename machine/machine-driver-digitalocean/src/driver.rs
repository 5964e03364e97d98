//! The driver itself: makes one droplet, and never a second; removes all that was made.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use machine_core::driver::{Driver, DriverError, ErrorKind, Event, Place, Session, SshEndpoint};
use machine_store::write_atomic;
use machine_types::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::api::{Api, ApiError, Droplet, Timing};
use crate::config::{DropletConfig, TOKEN_VARIABLE};
use crate::files;

const ENGINE_PORT: u16 = 2376;
const DIAL: Duration = Duration::from_secs(5);
/// Tries to make one droplet, each after a look whether the last one made it.
const ATTEMPTS: u32 = 5;

/// One machine as a droplet.
pub struct DigitalOceanDriver {
    config: DropletConfig,
    token: Option<String>,
    timing: Timing,
}

/// What may exist and must be removed with the machine.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cleanup {
    endpoint: String,
    /// Droplets are found by it.
    droplet_tag: Option<String>,
    /// Keys are found by it.
    key_name: Option<String>,
}

impl DigitalOceanDriver {
    /// A driver for such a droplet; without a token it is read from the environment when it is needed.
    #[must_use]
    pub fn new(config: DropletConfig, token: Option<String>) -> Self {
        Self { config, token, timing: Timing::default() }
    }

    /// A driver for what `config.json` keeps.
    ///
    /// # Errors
    /// That does not describe a droplet.
    pub fn load(data: Value) -> Result<Self, DriverError> {
        let config = serde_json::from_value(data)
            .map_err(|error| DriverError::failed("config.json does not describe a droplet").source(error))?;
        Ok(Self::new(config, None))
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    fn api(&self) -> Result<(Runtime, Api), DriverError> {
        let from_env = || std::env::var(TOKEN_VARIABLE).ok();
        let token = self.token.clone().or_else(from_env).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            DriverError::check("there is no token for DigitalOcean")
                .hint(format!("set {TOKEN_VARIABLE}; the token is never kept in the store"))
        })?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| DriverError::failed("could not start").source(error))?;
        let api =
            Api::new(self.config.endpoint(), &token, self.timing).map_err(|error| self.failed(error))?;
        Ok((runtime, api))
    }

    fn failed(&self, error: ApiError) -> DriverError {
        let hint = match &error {
            ApiError::Refused { status: 401 | 403, .. } => {
                format!("is {TOKEN_VARIABLE} right, and may it write?")
            }
            ApiError::Refused { status: 422, .. } => {
                "look at the flags --digitalocean-region, -size and -image".to_owned()
            }
            ApiError::Lost { .. } => "try again; what exists already is found by its tag".to_owned(),
            _ => String::new(),
        };
        DriverError::failed(format!("droplet of machine `{}`", self.config.machine_name))
            .source(error)
            .hint(hint)
    }

    fn note(&self, place: &Place) -> Result<(), DriverError> {
        let cleanup = Cleanup {
            endpoint: self.config.endpoint().to_owned(),
            droplet_tag: Some(self.config.tag()),
            key_name: Some(self.config.tag()),
        };
        let text = serde_json::to_vec_pretty(&cleanup).expect("it is plain JSON");
        write_atomic(&place.dir.join(files::CLEANUP), &text, 0o600)
            .map_err(|error| DriverError::failed("what is to be made was not written down").source(error))
    }

    /// Finds the droplet or makes it; a lost answer is looked up before anything is asked again.
    async fn make(&self, api: &Api, key: u64, user_data: &str) -> Result<Droplet, ApiError> {
        let tag = self.config.tag();
        let mut found = api.droplets(&tag).await?;
        let mut attempt = 0;
        while found.is_empty() {
            attempt += 1;
            match api.create_droplet(&self.config, key, user_data).await {
                Ok(droplet) => {
                    found.push(droplet);
                    break;
                }
                Err(error) if error.is_lost() && attempt < ATTEMPTS => {
                    tracing::warn!(%error, "looking whether the droplet was made");
                    let start = Instant::now();
                    while found.is_empty() && start.elapsed() < api.timing().settle {
                        tokio::time::sleep(api.timing().poll).await;
                        found = api.droplets(&tag).await?;
                    }
                    if let ApiError::Lost { after: Some(after), .. } = error
                        && found.is_empty()
                    {
                        tokio::time::sleep(after.saturating_sub(start.elapsed())).await;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let all = api.droplets(&tag).await?;
        let first = found.iter().chain(&all).map(|droplet| droplet.id).min().unwrap_or_default();
        for extra in all.iter().filter(|droplet| droplet.id != first) {
            tracing::warn!(id = extra.id, "removing a second droplet of the same machine");
            api.delete_droplet(extra.id).await?;
        }
        Ok(found.into_iter().chain(all).find(|droplet| droplet.id == first).expect("it was just found"))
    }

    /// Waits until it runs and has an address. Right after it was made it may be unknown for a while.
    async fn settle(&self, api: &Api, session: &Session<'_>, id: u64) -> Result<Droplet, DriverError> {
        let start = Instant::now();
        loop {
            session.cancel.check()?;
            match api.droplet(id).await {
                Ok(droplet) if droplet.status == "active" && droplet.address().is_some() => {
                    return Ok(droplet);
                }
                Ok(_) => {}
                Err(ApiError::Gone(_)) if start.elapsed() < api.timing().settle => {}
                Err(error) => return Err(self.failed(error)),
            }
            if start.elapsed() >= api.timing().boot {
                return Err(DriverError::new(
                    ErrorKind::TimedOut,
                    format!("droplet {id} has no address after {} s", api.timing().boot.as_secs()),
                )
                .hint("look at it in DigitalOcean's control panel"));
            }
            tokio::time::sleep(api.timing().poll).await;
        }
    }

    fn act(&self, action: &str) -> Result<(), DriverError> {
        if self.config.droplet_id == 0 {
            return Err(DriverError::failed(format!(
                "machine `{}` has no droplet",
                self.config.machine_name
            )));
        }
        let (runtime, api) = self.api()?;
        runtime.block_on(api.act(self.config.droplet_id, action)).map_err(|error| self.failed(error))
    }

    fn status(&self) -> Result<String, DriverError> {
        let (runtime, api) = self.api()?;
        match runtime.block_on(api.droplet(self.config.droplet_id)) {
            Ok(droplet) => Ok(droplet.status),
            Err(ApiError::Gone(_)) => Ok("gone".into()),
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl Driver for DigitalOceanDriver {
    fn name(&self) -> &'static str {
        crate::NAME
    }

    fn data(&self) -> Value {
        serde_json::to_value(&self.config).expect("a configuration is plain JSON")
    }

    fn check(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        if self.config.image.is_empty() {
            return Err(DriverError::check("a droplet needs an image of ours")
                .hint("upload one as a custom image, and name it with `--digitalocean-image`"));
        }
        let (runtime, api) = self.api()?;
        // Tells of a bad token before anything is made.
        runtime
            .block_on(api.droplets(&self.config.tag()))
            .map(drop)
            .map_err(|error| DriverError { kind: ErrorKind::Check, ..self.failed(error) })
    }

    fn create(&mut self, session: &Session<'_>, ignition: &[u8]) -> Result<(), DriverError> {
        let public = fs::read_to_string(session.place.dir.join(files::PUBLIC_KEY))
            .map_err(|error| DriverError::failed("the machine's public key is not readable").source(error))?;
        let user_data = String::from_utf8_lossy(ignition);
        let (runtime, api) = self.api()?;
        self.note(session.place)?;
        session.observer.notice(Event::Step("making the droplet".into()));
        let droplet = runtime.block_on(async {
            // Without a key DigitalOcean sends a password by mail.
            let key = api.key(&self.config.tag(), &public).await?;
            self.make(&api, key, &user_data).await
        });
        let droplet = droplet.map_err(|error| self.failed(error))?;
        self.config.droplet_id = droplet.id;
        let droplet = runtime.block_on(self.settle(&api, session, droplet.id))?;
        self.config.ip_address = droplet.address().unwrap_or_default().to_owned();
        Ok(())
    }

    fn start(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        if self.status()? == "active" { Ok(()) } else { self.act("power_on") }
    }

    fn wait_ready(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        let at = format!("{}:{ENGINE_PORT}", self.config.ip_address);
        let address = at
            .parse::<SocketAddr>()
            .map_err(|error| DriverError::failed("the droplet has no address").source(error))?;
        let start = Instant::now();
        while start.elapsed() < session.ready_limit {
            session.cancel.check()?;
            if TcpStream::connect_timeout(&address, DIAL).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(500));
        }
        Err(DriverError::new(
            ErrorKind::TimedOut,
            format!("nothing listens at {address} after {} s", session.ready_limit.as_secs()),
        ))
    }

    fn stop(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        match self.act("shutdown") {
            Ok(()) => Ok(()),
            Err(error) => {
                session.observer.notice(Event::Warning(format!("it does not shut down ({error})")));
                self.act("power_off")
            }
        }
    }

    fn kill(&mut self, _session: &Session<'_>) -> Result<(), DriverError> {
        self.act("power_off")
    }

    fn remove(&mut self, session: &Session<'_>) -> Result<(), DriverError> {
        let path = session.place.dir.join(files::CLEANUP);
        if !path.exists() {
            return Ok(());
        }
        let cleanup: Cleanup = machine_store::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_else(|| Cleanup {
                droplet_tag: Some(self.config.tag()),
                key_name: Some(self.config.tag()),
                ..Cleanup::default()
            });
        let (runtime, api) = self.api()?;
        let gone = runtime.block_on(async {
            if let Some(tag) = &cleanup.droplet_tag {
                remove_droplets(&api, tag).await?;
            }
            if let Some(name) = &cleanup.key_name {
                while let Some(id) = api.find_key(name).await? {
                    api.delete_key(id).await?;
                }
            }
            Ok::<_, ApiError>(())
        });
        gone.map_err(|error| self.failed(error))?;
        fs::remove_file(&path)
            .map_err(|error| DriverError::failed("the list of what to remove stays").source(error))
    }

    fn state(&self, _place: &Place, limit: Duration) -> Result<State, DriverError> {
        if self.config.droplet_id == 0 {
            return Ok(State::Stopped);
        }
        let (runtime, api) = self.api()?;
        let id = self.config.droplet_id;
        match runtime.block_on(async { tokio::time::timeout(limit, api.droplet(id)).await }) {
            Err(_) => Ok(State::Timeout),
            Ok(Ok(droplet)) => Ok(match droplet.status.as_str() {
                "active" => State::Running,
                "new" => State::Starting,
                _ => State::Stopped,
            }),
            Ok(Err(ApiError::Gone(_))) => {
                Err(DriverError::failed(format!("droplet {} is gone", self.config.droplet_id))
                    .hint(format!("`rmachine rm {}` forgets it", self.config.machine_name)))
            }
            Ok(Err(error)) => Err(self.failed(error)),
        }
    }

    fn address(&self) -> Option<String> {
        (!self.config.ip_address.is_empty()).then(|| self.config.ip_address.clone())
    }

    fn engine_url(&self) -> Option<String> {
        self.address().map(|address| format!("tcp://{address}:{ENGINE_PORT}"))
    }

    fn ssh(&self) -> Option<SshEndpoint> {
        let (port, user) = (self.config.ssh_port, self.config.ssh_user.clone());
        self.address().map(|host| SshEndpoint { host, port, user })
    }

    fn certificate_names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        names.extend(self.address());
        names
    }
}

/// Removes droplets until lists show none for a while: one whose making was answered late shows late.
async fn remove_droplets(api: &Api, tag: &str) -> Result<(), ApiError> {
    let mut clean_since = None;
    let start = Instant::now();
    loop {
        if api.droplets(tag).await?.is_empty() {
            let since = *clean_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= api.timing().settle {
                return Ok(());
            }
        } else {
            clean_since = None;
            if start.elapsed() > api.timing().call {
                let reason = "it is still there".to_owned();
                return Err(ApiError::Lost { what: "remove the droplet".into(), reason, after: None });
            }
            api.delete_droplets(tag).await?;
        }
        tokio::time::sleep(api.timing().poll).await;
    }
}
