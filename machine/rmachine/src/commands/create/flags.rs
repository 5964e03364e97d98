//! The flags of `create`: docker-machine's shared ones, and each driver's.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use machine_driver_qemu::{Accel, ENGINE_PORT, Network, QemuConfig, SSH_PORT};
use machine_types::{EngineOptions, MachineName, SwarmOptions};

use super::generic::Generic;
use crate::failure::Failure;
use crate::machine::READY_LIMIT;
use crate::switch;

/// Flags of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Names of the new machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// What makes the machine: qemu, generic or none
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
    /// Put the machines on one network of their own, under this name
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<MachineName>,
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
    #[arg(long, value_name = "URL", env = "ENGINE_REGISTRY_MIRROR")]
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

/// Flags of the driver qemu.
#[derive(Debug, Args)]
#[command(next_help_heading = "Driver qemu")]
pub(crate) struct Qemu {
    /// Memory in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    qemu_memory: u32,
    /// Virtual processors
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    qemu_cpu_count: u32,
    /// State disk in MB; it takes room as it fills
    #[arg(long, default_value_t = 20_000, value_name = "MB")]
    qemu_disk_size: u64,
    /// Accelerator: auto, kvm or tcg
    #[arg(long, default_value = "auto", value_name = "NAME")]
    qemu_accel: Accel,
    /// Image: a folder, or an id or version in the store
    #[arg(long = "qemu-image", value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Emulator
    #[arg(long, default_value = "qemu-system-x86_64", value_name = "PROGRAM")]
    qemu_program: String,
    /// Network: user, cluster (the default with --cluster), or bridge
    /// (needs privileges)
    #[arg(long, value_name = "NAME")]
    qemu_network: Option<String>,
    /// Bridge to join
    #[arg(long, default_value = "br0", value_name = "NAME")]
    qemu_network_bridge: String,
    /// Port of the engine on this workstation [default: a free one]
    #[arg(long, value_name = "PORT")]
    qemu_engine_port: Option<u16>,
    /// Port of ssh on this workstation [default: a free one]
    #[arg(long, value_name = "PORT")]
    qemu_ssh_port: Option<u16>,
    /// Further port of the machine to open on loopback
    #[arg(long, value_name = "[HOST:]GUEST")]
    qemu_open_port: Vec<String>,
    /// Further words for the kernel command line
    #[arg(long, default_value = "", value_name = "WORDS", allow_hyphen_values = true)]
    qemu_cmdline: String,
}

impl Create {
    pub(crate) fn ready_limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The names, or what is wrong with the flags alone.
    pub(crate) fn check(&self) -> Result<Vec<MachineName>, Failure> {
        if self.engine.engine_install_url.is_some() {
            return Err(Failure::new(
                "`--engine-install-url` cannot be honoured: the engine is part of the image",
            )
            .hint("leave it out, and choose an image with `--qemu-image`")
            .code(3));
        }
        if let Some(url) = &self.swarm.swarm_discovery
            && !url.contains("://")
        {
            return Err(Failure::new(format!("`{url}` is no discovery URL"))
                .hint("use token://ID, file:///PATH, nodes://A,B or etcd://HOST/PREFIX")
                .code(3));
        }
        for pair in self.engine.engine_env.iter().chain(&self.engine.engine_label) {
            if !pair.contains('=') || pair.starts_with('=') {
                return Err(Failure::new(format!("`{pair}` is not of the form NAME=VALUE")).code(3));
            }
        }
        let names: std::collections::BTreeSet<_> = self.names.iter().collect();
        if names.len() < self.names.len() {
            return Err(Failure::new("a name is given twice").code(3));
        }
        let pinned = self.qemu.qemu_engine_port.or(self.qemu.qemu_ssh_port).is_some();
        if pinned && self.names.len() > 1 {
            return Err(Failure::new("several machines cannot share one port of this workstation")
                .hint("leave out the port, or create one machine at a time")
                .code(3));
        }
        let parse =
            |name: &String| name.parse().map_err(|error| Failure::because("no machine was made", &error));
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

impl Qemu {
    /// Lays the flags over a new machine's configuration.
    pub(crate) fn apply(
        &self,
        mut config: QemuConfig,
        cluster: Option<&MachineName>,
    ) -> Result<QemuConfig, Failure> {
        config.memory = self.qemu_memory;
        config.cpu = self.qemu_cpu_count;
        config.disk_size = self.qemu_disk_size;
        config.accel = self.qemu_accel;
        config.program.clone_from(&self.qemu_program);
        config.cmdline.clone_from(&self.qemu_cmdline);
        config.network = self.network(cluster)?;
        if let (Network::Cluster, Some(cluster)) = (config.network, cluster) {
            config.network_switch = switch::socket(cluster);
        }
        if config.network == Network::Bridge {
            config.network_bridge.clone_from(&self.qemu_network_bridge);
        }
        for (guest, host) in [(SSH_PORT, self.qemu_ssh_port), (ENGINE_PORT, self.qemu_engine_port)] {
            if let Some(host) = host {
                config.open(guest, host);
            }
        }
        for ports in &self.qemu_open_port {
            let (guest, host) = parse_ports(ports)?;
            config.open(guest, host);
        }
        Ok(config)
    }
}

impl Qemu {
    fn network(&self, cluster: Option<&MachineName>) -> Result<Network, Failure> {
        let refuse = |message: &str, hint: &str| Err(Failure::new(message).hint(hint).code(3));
        match (self.qemu_network.as_deref(), cluster) {
            (None | Some("cluster"), Some(_)) => Ok(Network::Cluster),
            (None | Some("user"), _) => Ok(Network::User),
            (Some("bridge"), _) => Ok(Network::Bridge),
            (Some("cluster"), None) => {
                refuse("the network `cluster` needs the name of the cluster", "add `--cluster NAME`")
            }
            (Some(other), _) => {
                refuse(&format!("`{other}` is no network of the driver qemu"), "use user, cluster or bridge")
            }
        }
    }
}

/// `GUEST` or `HOST:GUEST`, as guest and host port.
fn parse_ports(text: &str) -> Result<(u16, u16), Failure> {
    let (host, guest) = text.split_once(':').map_or(("0", text), |(host, guest)| (host, guest));
    match (guest.parse(), host.parse()) {
        (Ok(guest), Ok(host)) if guest != 0 => Ok((guest, host)),
        _ => Err(Failure::new(format!("`{text}` is not of the form GUEST or HOST:GUEST")).code(3)),
    }
}
