//! The engine behind the API: its containers, images, networks and volumes, and what it knows of the host.

pub(crate) mod archive;
pub(crate) mod attach;
pub(crate) mod build;
mod caps;
mod checks;
mod connect;
pub(crate) mod container;
mod copy_up;
pub(crate) mod create;
mod devices;
mod dns;
mod durable;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod filters;
mod haste;
mod health;
pub(crate) mod host;
mod info;
mod inspect;
pub(crate) mod kill;
mod links;
pub(crate) mod list;
pub(crate) mod logfile;
mod metrics;
mod mounts;
mod names;
pub(crate) mod networks;
mod publish;
mod registry;
mod remove;
mod restore;
pub(crate) mod sandbox;
mod settings;
mod spec;
mod start;
pub(crate) mod stats;
mod sweep;
pub(crate) mod update;
pub(crate) mod usage;
pub(crate) mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use engine_image::Store;
use engine_image::registry::{Proxies, Registry, RegistryConfig};
use engine_runtime::{Runtime, RuntimeConfig, ShimProgram};

use crate::options::Config;
use exec::ExecSession;

/// As of `nice`.
const LOWEST_PRIORITY: i32 = 19;

/// How long an engine that just started serves before it makes networks that nobody asked for.
const FIRST_CALLS: Duration = Duration::from_secs(1);

pub(crate) use mounts::clean as clean_path;
pub(crate) use settings::merge_image;

/// One engine.
pub(crate) struct Daemon {
    pub(crate) config: Config,
    /// Stable over restarts; clients only show it.
    id: String,
    pub(crate) events: events::Events,
    pub(crate) containers: registry::Containers,
    pub(crate) volumes: volumes::Volumes,
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    pub(crate) networks: networks::Networks,
    pub(crate) registry: Registry,
    execs: Mutex<BTreeMap<String, Arc<ExecSession>>>,
    pub(crate) metrics: metrics::Metrics,
    stopping: AtomicBool,
}

impl Daemon {
    /// Opens what is on disk and takes over what runs.
    pub(crate) async fn open(config: Config) -> anyhow::Result<Arc<Daemon>> {
        settings::check_log(&config.log_driver, &config.log_opts)
            .map_err(|problem| anyhow::anyhow!("failed to set log opts: {problem}"))?;
        let root = &config.data_root;
        let id = host::engine_id(root)?;
        std::fs::create_dir_all(root.join("containers"))
            .context("could not make the folder of containers")?;
        let store = Store::open(&root.join("image"))
            .map_err(|e| anyhow::anyhow!("could not open the image store: {}", e.report()))?;
        let volumes = volumes::Volumes::open(root.join("volumes")).context("could not read the volumes")?;
        let runtime = Runtime::new(RuntimeConfig {
            state_dir: config.exec_root.join("shim"),
            shim: ShimProgram::Sibling,
            cgroup_parent: config.cgroup_parent.clone().unwrap_or_else(|| "docker".into()),
        })
        .map_err(|e| anyhow::anyhow!("could not set up the runtime: {}", error::chain(&e)))?;
        let networks = networks::Networks::open(&config)
            .map_err(|e| anyhow::anyhow!("could not set up the networks: {e}"))?;
        let registry = Registry::new(RegistryConfig {
            mirrors: config.registry_mirrors.clone(),
            insecure: config.insecure_registries.clone(),
            downloads: config.downloads,
            uploads: config.uploads,
            attempts: config.attempts,
            proxies: Proxies {
                http: config.proxies.http.clone(),
                https: config.proxies.https.clone(),
                except: config.proxies.except.clone(),
            },
            ..RegistryConfig::default()
        });
        let daemon = Arc::new(Daemon {
            id,
            events: events::Events::default(),
            containers: registry::Containers::default(),
            volumes,
            store,
            runtime,
            networks,
            registry,
            execs: Mutex::default(),
            metrics: metrics::Metrics::default(),
            stopping: AtomicBool::new(false),
            config,
        });
        // Bridges and rules take as long to make as all the rest, and an engine without containers has
        // nobody who needs them yet.
        let later = daemon.is_new()?;
        if !later {
            daemon.make_bridges();
            daemon.networks.set_up();
        }
        daemon.restore().await?;
        if later {
            let daemon = daemon.clone();
            tokio::spawn(async move {
                // Whoever waited for the engine to serve goes first.
                let _ = tokio::time::timeout(FIRST_CALLS, daemon.networks.are_wanted()).await;
                let maker = daemon.clone();
                let thread = std::thread::Builder::new().name("networks".to_owned());
                if let Err(error) = thread.spawn(move || maker.make_first_networks()) {
                    tracing::error!(%error, "could not set up the networks");
                    daemon.networks.set_up();
                }
            });
        } else {
            daemon.make_firewall();
        }
        daemon.clone().guard_firewall();
        Ok(daemon)
    }

    /// Whether there are no containers to take over.
    fn is_new(&self) -> anyhow::Result<bool> {
        let dir = self.config.data_root.join("containers");
        let mut entries =
            std::fs::read_dir(&dir).with_context(|| format!("could not list {}", dir.display()))?;
        Ok(entries.next().is_none() && self.runtime.list().unwrap_or_default().is_empty())
    }

    /// On a thread of its own, behind all that serves.
    fn make_first_networks(&self) {
        if let Err(error) = rustix::process::setpriority_process(None, LOWEST_PRIORITY) {
            tracing::debug!(%error, "the networks are made with the usual priority");
        }
        self.make_bridges();
        self.make_firewall();
        self.networks.set_up();
    }

    fn make_bridges(&self) {
        if self.config.ip_forward
            && let Err(error) = engine_net::bridge::enable_forwarding()
        {
            tracing::warn!(error = %error::chain(&error), "could not turn on forwarding");
        }
        self.networks.ensure_bridges();
    }

    fn make_firewall(&self) {
        if let Err(error) = self.apply_firewall() {
            tracing::error!(%error, "could not set up the firewall");
        }
    }

    /// Puts the firewall back when somebody flushed it. Ends with the process.
    fn guard_firewall(self: Arc<Self>) {
        if !self.config.firewall {
            return;
        }
        tokio::spawn(async move {
            self.networks.once_up().await;
            let Ok(monitor) = engine_net::Monitor::new() else { return };
            while monitor.changed().await.is_ok() {
                match self.networks.firewall.heal() {
                    Ok(true) => tracing::warn!("the firewall table was changed from outside and is put back"),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(error = %error::chain(&error), "could not check the firewall")
                    }
                }
            }
        });
    }

    pub(crate) fn container_dir(&self, id: &str) -> PathBuf {
        self.config.data_root.join("containers").join(id)
    }

    /// The engine is about to end: nothing is restarted any more.
    pub(crate) fn stop_serving(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
