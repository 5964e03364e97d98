//! Puts the parts together, reloads on SIGHUP, ends on SIGTERM.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fleet_agent::{Ledger, UnitManager as _};
use fleet_registry::{MachineRecord, Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::config::{Cli, Config};
use crate::credentials::{Change, Credentials};
use crate::metrics::Metrics;
use crate::neighbours::Neighbours;
use crate::store_tls::StoreIdentity;
use crate::units::Units;
use crate::{api, endpoints, member, renewal, revocations, scheduler};

const PAUSE: Duration = Duration::from_millis(500);

/// Runs until SIGTERM or SIGINT. Units go on when it has ended.
///
/// # Errors
/// What keeps it from starting: an unusable configuration, a socket that is taken.
pub(crate) async fn serve(mut config: Config, cli: Cli) -> Result<()> {
    let mut signals = Signals::listen()?;
    loop {
        let mut credentials = Credentials::of(&config);
        tokio::select! {
            () = credentials.complete() => {}
            () = signals.end() => return Ok(()),
        }
        match serve_one_cluster(config, &cli, &mut signals, credentials).await? {
            Ended::Told => return Ok(()),
            Ended::InAnotherCluster => config = Config::load(&cli, &|key| std::env::var(key).ok())?,
        }
    }
}

/// Why the daemon serves no longer.
enum Ended {
    Told,
    InAnotherCluster,
}

async fn serve_one_cluster(
    config: Config,
    cli: &Cli,
    signals: &mut Signals,
    credentials: Credentials,
) -> Result<Ended> {
    let store = StoreIdentity::load(&config.etcd_tls).context("the TLS identity towards the store")?;
    let endpoints = tokio::select! {
        found = endpoints::of(&config) => found?,
        () = signals.end() => return Ok(Ended::Told),
    };
    let registry = registry(&config, endpoints, &store)?;
    let metrics = Arc::new(Metrics::default());
    let (record_in, record) = watch::channel(record(&config));
    let (lease_in, lease) = watch::channel(None);
    let mut tasks = JoinSet::new();

    let api = api::Api::new(registry.clone(), &config, Arc::clone(&metrics))?;
    for listener in api::bind(&config, &api).await? {
        tasks.spawn(listener);
    }
    tasks.spawn(member::keep(
        registry.clone(),
        config.machine_id.clone(),
        record.clone(),
        config.agent_ttl,
        lease_in,
    ));
    let (renewed_in, renewed) = mpsc::channel(1);
    if let Some(identity) = renewal::identity_of(&config) {
        tasks.spawn(renewal::keep(api.clone(), identity, renewed_in));
    }
    if let Some(file) = revocations::file_of(&config) {
        tasks.spawn(revocations::keep(registry.clone(), api.clone(), file));
    }
    let units_changed = Arc::new(Notify::new());
    tasks.spawn(listen_to_units(Units::of(&config), Arc::clone(&units_changed)));
    let agent = Agent {
        registry: registry.clone(),
        machine: config.machine_id.clone(),
        record,
        lease,
        manager: Units::of(&config),
        ledger: Ledger::open(&config.units_directory)?,
        units_changed,
        metrics: Arc::clone(&metrics),
        neighbours: Neighbours::of(&config, &api),
    };
    tasks.spawn(agent.run());
    if !config.disable_engine {
        let (id, interval, grace) =
            (config.machine_id.clone(), config.engine_reconcile_interval, config.agent_ttl);
        tasks.spawn(scheduler::run(registry, id, interval, grace, metrics));
    }
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    tracing::info!(machine = %config.machine_id, listen = ?config.listen, "fleetd serves");
    let ended = until_ended(cli, &Reloaded { record_in, api, store }, signals, renewed, credentials).await;
    tasks.shutdown().await;
    Ok(ended)
}

/// What a reload reaches.
struct Reloaded {
    record_in: watch::Sender<MachineRecord>,
    api: api::Api,
    store: Arc<StoreIdentity>,
}

impl Reloaded {
    fn reload(&self, cli: &Cli) {
        let config = match Config::load(cli, &|key| std::env::var(key).ok()) {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(%error, "configuration stays as it was");
                return;
            }
        };
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        self.record_in.send_replace(record(&config));
        if let Err(error) = self.api.reload(&config).and_then(|()| self.store.reload()) {
            tracing::warn!(error = %format!("{error:#}"), "certificates stay as they were");
        }
        tracing::info!("configuration reloaded");
    }
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup()).context("could not listen to SIGHUP")?,
            terminate: signal(SignalKind::terminate()).context("could not listen to SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("could not listen to SIGINT")?,
        })
    }

    /// Returns when the daemon is told to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn until_ended(
    cli: &Cli,
    reloaded: &Reloaded,
    signals: &mut Signals,
    mut renewed: mpsc::Receiver<()>,
    mut credentials: Credentials,
) -> Ended {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ended::Told,
            _ = signals.interrupt.recv() => return Ended::Told,
            _ = signals.hangup.recv() => reloaded.reload(cli),
            Some(()) = renewed.recv() => reloaded.reload(cli),
            change = credentials.changed() => match change {
                Change::Renewed => reloaded.reload(cli),
                Change::Authority => {
                    tracing::warn!("the authority is another: beginning anew as a member of its cluster");
                    return Ended::InAnotherCluster;
                }
            },
        }
    }
}

async fn listen_to_units(mut manager: Units, units_changed: Arc<Notify>) {
    loop {
        if manager.changed().await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        units_changed.notify_one();
    }
}

fn registry(config: &Config, endpoints: Vec<String>, store: &Arc<StoreIdentity>) -> Result<Registry> {
    let mut client = kv_client::Config::new(endpoints);
    client.request_timeout = config.etcd_request_timeout;
    if let Some(ca) = &config.etcd_tls[0] {
        client = client.with_tls(store.tls(ca)?);
    }
    let client = kv_client::Client::new(client).context("could not use etcd_servers")?;
    Ok(Registry::new(client, &config.etcd_key_prefix))
}

/// What this machine says of itself.
fn record(config: &Config) -> MachineRecord {
    let public_ip = if config.public_ip.is_empty() {
        own_address().map(|address| address.to_string()).unwrap_or_default()
    } else {
        config.public_ip.clone()
    };
    let port = config.listen.iter().find(|it| !it.starts_with('/')).and_then(|it| it.rsplit_once(':'));
    let api = port.map(|(_, port)| format!("https://{public_ip}:{port}")).unwrap_or_default();
    MachineRecord {
        public_ip,
        metadata: config.metadata.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        memory: total_memory().unwrap_or(0),
        milli_cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64 * 1000),
        api,
        signs: config.authority_key.as_ref().is_some_and(|key| key.exists()),
    }
}

/// The address that the default route leaves from. Connecting a datagram socket sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn total_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
