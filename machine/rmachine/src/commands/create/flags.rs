//! The flags of `create` that all drivers share; each driver's own are in a file of its own.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use machine_types::{EngineOptions, MachineName, NameError, SwarmOptions};

use super::digitalocean::DigitalOcean;
use super::generic::Generic;
use super::qemu::Qemu;
use crate::failure::Failure;
use crate::machine::READY_LIMIT;

/// Flags of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Names of the new machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// What makes the machine: qemu, digitalocean, generic or none
    #[arg(long, short, default_value = "qemu", env = "MACHINE_DRIVER")]
    pub(crate) driver: String,
    /// Ignition config to lay over the machine's own
    #[arg(long, value_name = "FILE")]
    pub(crate) ignition: Option<PathBuf>,
    /// Seconds that the machine may take until it is ready
    #[arg(long, visible_alias = "qemu-ready-timeout", default_value_t = READY_LIMIT.as_secs())]
    #[arg(value_name = "SECONDS")]
    timeout: u64,
    /// Further name or address for the machine's certificate
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_san: Vec<String>,
    /// Make the machines members of this cluster: one network, one kv, one
    /// fleet
    #[arg(long, value_name = "NAME")]
    cluster: Option<MachineName>,
    /// How the first machines of the cluster find each other: token://ID,
    /// token://HOST:PORT/ID, file:///PATH or nodes://A,B [default: told by
    /// rmachine]
    #[arg(long, value_name = "URL", requires = "cluster")]
    discovery: Option<String>,
    /// URL of the engine, for the driver none
    #[arg(long)]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    engine: Engine,
    #[command(flatten)]
    swarm: Swarm,
    #[command(flatten)]
    pub(crate) qemu: Qemu,
    #[command(flatten)]
    pub(crate) generic: Generic,
    #[command(flatten)]
    pub(crate) digitalocean: DigitalOcean,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
struct Engine {
    /// Setting of the engine
    #[arg(long, value_name = "KEY=VALUE")]
    engine_opt: Vec<String>,
    /// Variable in the engine's environment
    #[arg(long, value_name = "NAME=VALUE")]
    engine_env: Vec<String>,
    /// Label of the engine
    #[arg(long, value_name = "KEY=VALUE")]
    engine_label: Vec<String>,
    /// Registry to speak to without TLS
    #[arg(long, value_name = "HOST")]
    engine_insecure_registry: Vec<String>,
    /// Mirror to ask before the real registry
    #[arg(long, value_name = "URL", env = "ENGINE_REGISTRY_MIRROR", value_delimiter = ',')]
    engine_registry_mirror: Vec<String>,
    /// Storage driver of the engine
    #[arg(long, value_name = "NAME")]
    engine_storage_driver: Option<String>,
    /// Refused: the engine is part of the image
    #[arg(long, hide = true, env = "MACHINE_DOCKER_INSTALL_URL")]
    engine_install_url: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Swarm")]
struct Swarm {
    /// Take part in a cluster
    #[arg(long)]
    swarm: bool,
    /// Lead the cluster
    #[arg(long)]
    swarm_master: bool,
    /// Where the machines of the cluster find each other
    #[arg(long, value_name = "URL")]
    swarm_discovery: Option<String>,
    /// Placement strategy
    #[arg(long, default_value = "spread", hide = true)]
    swarm_strategy: String,
    /// Setting of the master
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    swarm_opt: Vec<String>,
    /// Setting of a member
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    swarm_join_opt: Vec<String>,
    /// Where the master listens
    #[arg(long, default_value = "tcp://0.0.0.0:3376", hide = true)]
    swarm_host: String,
    /// Address to announce
    #[arg(long, hide = true)]
    swarm_addr: Option<String>,
    /// Image of the elder's agent
    #[arg(long, default_value = "swarm:latest", hide = true, env = "MACHINE_SWARM_IMAGE")]
    swarm_image: String,
    /// The elder's unfinished features
    #[arg(long, hide = true)]
    swarm_experimental: bool,
}

impl Create {
    /// The cluster to be in; docker-machine's swarm flags name it by their discovery URL.
    pub(crate) fn cluster_name(&self) -> Option<MachineName> {
        let swarm = || {
            let url = self.swarm.swarm_discovery.as_deref().filter(|_| self.is_swarm())?;
            let id: String =
                url.rsplit('/').next()?.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
            format!("swarm-{id}").trim_end_matches('-').parse().ok()
        };
        self.cluster.clone().or_else(swarm)
    }

    /// How founders find each other, if not through rmachine.
    pub(crate) fn discovery(&self) -> Option<&str> {
        self.discovery.as_deref()
    }

    /// The elder's discovery URL, where machines of a swarm are listed.
    pub(crate) fn swarm_discovery(&self) -> Option<&str> {
        self.swarm.swarm_discovery.as_deref().filter(|_| self.is_swarm())
    }

    fn is_swarm(&self) -> bool {
        self.swarm.swarm || self.swarm.swarm_master
    }

    pub(crate) fn ready_limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The names, or what is wrong with the flags alone.
    pub(crate) fn check(&self) -> Result<Vec<MachineName>, Failure> {
        if self.engine.engine_install_url.is_some() {
            return Err(Failure::new(
                "`--engine-install-url` cannot be honoured: the engine is part of the image",
            )
            .hint("leave it out, and choose an image with `--qemu-image`"));
        }
        if let Some(url) = &self.swarm.swarm_discovery
            && !url.contains("://")
        {
            return Err(Failure::elder(format!(
                "Error parsing swarm discovery: Swarm Discovery URL was in the wrong format: {url}"
            ))
            .hint("use token://ID, file:///PATH, nodes://A,B or etcd://HOST/PREFIX"));
        }
        for pair in self.engine.engine_env.iter().chain(&self.engine.engine_label) {
            if !pair.contains('=') || pair.starts_with('=') {
                return Err(Failure::new(format!("`{pair}` is not of the form NAME=VALUE")));
            }
        }
        if self.driver == machine_driver_qemu::NAME {
            self.qemu.check(self.cluster_name().as_ref())?;
        }
        let names: std::collections::BTreeSet<_> = self.names.iter().collect();
        if names.len() < self.names.len() {
            return Err(Failure::new("a name is given twice"));
        }
        if self.qemu.has_fixed_port() && self.names.len() > 1 {
            return Err(Failure::new("several machines cannot share one port of this workstation")
                .hint("leave out the port, or create one machine at a time"));
        }
        let parse = |name: &String| {
            name.parse().map_err(|error: NameError| {
                let allowed = "Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -";
                Failure::elder(format!("Error creating machine: {allowed}")).hint(error.to_string())
            })
        };
        self.names.iter().map(parse).collect()
    }

    pub(crate) fn engine_options(&self) -> EngineOptions {
        let engine = &self.engine;
        EngineOptions {
            arbitrary_flags: engine.engine_opt.clone(),
            env: engine.engine_env.clone(),
            insecure_registry: engine.engine_insecure_registry.clone(),
            labels: engine.engine_label.clone(),
            registry_mirror: engine.engine_registry_mirror.clone(),
            storage_driver: engine.engine_storage_driver.clone().unwrap_or_default(),
            install_url: String::new(),
        }
    }

    pub(crate) fn swarm_options(&self) -> SwarmOptions {
        let swarm = &self.swarm;
        SwarmOptions {
            is_swarm: swarm.swarm || swarm.swarm_master,
            master: swarm.swarm_master,
            address: swarm.swarm_addr.clone().unwrap_or_default(),
            discovery: swarm.swarm_discovery.clone().unwrap_or_default(),
            host: swarm.swarm_host.clone(),
            image: swarm.swarm_image.clone(),
            strategy: swarm.swarm_strategy.clone(),
            arbitrary_flags: swarm.swarm_opt.clone(),
            arbitrary_join_flags: swarm.swarm_join_opt.clone(),
            is_experimental: swarm.swarm_experimental,
        }
    }
}
