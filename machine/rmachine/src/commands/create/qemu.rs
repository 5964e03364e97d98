//! The flags of the driver qemu: ours, and the third-party driver's where they make sense.

use std::path::PathBuf;

use clap::Args;
use machine_driver_qemu::{
    Accel, ENGINE_PORT, FLEET_PORT, KV_PORT, Network, PortRange, QemuConfig, SSH_PORT,
};
use machine_types::MachineName;

use crate::failure::Failure;
use crate::switch;

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
    /// Network: user, cluster (the default with --cluster), bridge or tap
    /// (both need privileges)
    #[arg(long, value_name = "NAME")]
    qemu_network: Option<String>,
    /// Bridge to join, for the network bridge
    #[arg(long, default_value = "br0", value_name = "NAME")]
    qemu_network_bridge: String,
    /// Interface to use, for the network tap
    #[arg(long, default_value = "tap0", value_name = "NAME")]
    qemu_network_interface: String,
    /// Port of the engine on this workstation [default: a free one]
    #[arg(long, value_name = "PORT")]
    qemu_engine_port: Option<u16>,
    /// Port of ssh on this workstation [default: a free one]
    #[arg(long, value_name = "PORT")]
    qemu_ssh_port: Option<u16>,
    /// Further port of the machine to open on loopback
    #[arg(long, value_name = "[HOST:]GUEST")]
    qemu_open_port: Vec<String>,
    /// Ports of this workstation to choose from [default: 20000-31999]
    #[arg(long, value_name = "FIRST-LAST", env = "QEMU_LOCALPORTS", hide_env_values = true)]
    qemu_localports: Option<PortRange>,
    /// User to log in as; made if it is not core or root
    #[arg(long, default_value = "core", value_name = "USER", env = "QEMU_SSH_USER")]
    #[arg(hide_env_values = true)]
    qemu_ssh_user: String,
    /// Cache of the disk: default, none, writethrough, writeback,
    /// directsync or unsafe
    #[arg(long, default_value = "default", value_name = "MODE")]
    #[arg(value_parser = ["default", "none", "writethrough", "writeback", "directsync", "unsafe"])]
    #[arg(hide_possible_values = true)]
    qemu_cache_mode: String,
    /// How the disk is read and written: threads, or native (with the
    /// cache none or directsync)
    #[arg(long, default_value = "threads", value_name = "MODE")]
    #[arg(value_parser = ["threads", "native"], hide_possible_values = true)]
    qemu_io_mode: String,
    /// Taken for docker-machine's sake: there is no window in any case
    #[arg(long, hide = true)]
    qemu_nographic: bool,
    /// Taken for docker-machine's sake: disks are always virtio
    #[arg(long, hide = true, env = "QEMU_VIRTIO_DRIVES")]
    qemu_virtio_drives: bool,
    /// Refused: a machine has no screen
    #[arg(long, hide = true)]
    qemu_display: bool,
    /// Refused: a machine has no screen
    #[arg(long, hide = true, env = "QEMU_DISPLAY_TYPE")]
    qemu_display_type: Option<String>,
    /// Refused: the image is ours
    #[arg(long, hide = true, env = "QEMU_BOOT2DOCKER_URL")]
    qemu_boot2docker_url: Option<String>,
    /// Refused: machines are configured by Ignition
    #[arg(long, hide = true)]
    qemu_userdata: Option<PathBuf>,
    /// Refused: the machine's first interface is always QEMU's own network
    #[arg(long, hide = true)]
    qemu_network_address: Option<String>,
    /// Further words for the kernel command line
    #[arg(long, default_value = "", value_name = "WORDS", allow_hyphen_values = true)]
    qemu_cmdline: String,
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
        config.ssh_user.clone_from(&self.qemu_ssh_user);
        config.local_ports = self.qemu_localports;
        config.cache_mode = word_unless(&self.qemu_cache_mode, "default");
        config.io_mode = word_unless(&self.qemu_io_mode, "threads");
        config.network = self.network(cluster)?;
        if let (Network::Cluster, Some(cluster)) = (config.network, cluster) {
            config.network_switch = switch::socket(cluster);
            config.open(KV_PORT, 0);
            config.open(FLEET_PORT, 0);
        }
        match config.network {
            Network::Bridge => config.network_bridge.clone_from(&self.qemu_network_bridge),
            Network::Tap => config.network_interface.clone_from(&self.qemu_network_interface),
            Network::User | Network::Cluster => {}
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

    /// What is wrong with the flags alone.
    pub(super) fn check(&self, cluster: Option<&MachineName>) -> Result<(), Failure> {
        self.refuse_the_impossible()?;
        self.network(cluster)?;
        self.qemu_open_port.iter().try_for_each(|ports| parse_ports(ports).map(drop))
    }

    /// Whether it can hold for one machine only.
    pub(super) fn has_fixed_port(&self) -> bool {
        self.qemu_engine_port.or(self.qemu_ssh_port).is_some()
    }

    /// Flags of the third-party driver that would change nothing here are not swallowed.
    fn refuse_the_impossible(&self) -> Result<(), Failure> {
        let screen = "leave it out: `rmachine logs` and `rmachine ssh` show what goes on";
        for (given, flag, hint) in [
            (self.qemu_display, "--qemu-display", screen),
            (self.qemu_display_type.is_some(), "--qemu-display-type", screen),
            (
                self.qemu_boot2docker_url.is_some(),
                "--qemu-boot2docker-url",
                "choose an image with `--qemu-image`",
            ),
            (self.qemu_userdata.is_some(), "--qemu-userdata", "write an Ignition config: `--ignition FILE`"),
            (
                self.qemu_network_address.is_some(),
                "--qemu-network-address",
                "leave it out: the machine is reached by ports on loopback",
            ),
        ] {
            if given {
                return Err(Failure::new(format!("`{flag}` cannot be honoured")).hint(hint));
            }
        }
        Ok(())
    }

    /// The network asked for, or the one that fits.
    pub(crate) fn network(&self, cluster: Option<&MachineName>) -> Result<Network, Failure> {
        let refuse = |message: &str, hint: &str| Err(Failure::new(message).hint(hint));
        match (self.qemu_network.as_deref(), cluster) {
            (None | Some("cluster"), Some(_)) => Ok(Network::Cluster),
            (None | Some("user"), _) => Ok(Network::User),
            (Some("bridge"), _) => Ok(Network::Bridge),
            (Some("tap"), _) => Ok(Network::Tap),
            (Some("cluster"), None) => {
                refuse("the network `cluster` needs the name of the cluster", "add `--cluster NAME`")
            }
            (Some(other), _) => refuse(
                &format!("`{other}` is no network of the driver qemu"),
                "use user, cluster, bridge or tap",
            ),
        }
    }
}

/// `GUEST` or `HOST:GUEST`, as guest and host port.
fn parse_ports(text: &str) -> Result<(u16, u16), Failure> {
    let (host, guest) = text.split_once(':').map_or(("0", text), |(host, guest)| (host, guest));
    match (guest.parse(), host.parse()) {
        (Ok(guest), Ok(host)) if guest != 0 => Ok((guest, host)),
        _ => Err(Failure::new(format!("`{text}` is not of the form GUEST or HOST:GUEST"))),
    }
}

/// Nothing for the default, so that old records stay as they are.
fn word_unless(word: &str, default: &str) -> String {
    if word == default { String::new() } else { word.to_owned() }
}
