//! Making a container: checked, complete, and on disk before it is answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_api::container::NetworkingConfig;
use engine_api::host_config::HostConfig;
use engine_api::network::EndpointSettings;
use engine_image::{Image, Platform, RunConfig};

use super::container::{Container, Mounted, Record};
use super::error::{Refusal, Result};
use super::mounts::{self, Planned};
use super::volumes::Volume;
use super::{Daemon, checks, events, host, names, settings};
use crate::clock;

/// What a client asked for.
pub(crate) struct CreateRequest {
    pub(crate) name: String,
    pub(crate) config: RunConfig,
    pub(crate) host: HostConfig,
    pub(crate) networking: NetworkingConfig,
    /// The only one that will do.
    pub(crate) platform: Option<Platform>,
    /// What is mounted below a read-only mount stays writable: clients of old count on it.
    pub(crate) flat_readonly: bool,
}

/// A container, and what could not be had as asked.
pub(crate) struct Created {
    pub(crate) container: Arc<Container>,
    pub(crate) warnings: Vec<String>,
}

impl Daemon {
    pub(crate) async fn create(self: &Arc<Self>, request: CreateRequest) -> Result<Created> {
        let daemon = self.clone();
        // On a task of its own: a client that hangs up must not leave half a container.
        let made = tokio::task::spawn_blocking(move || daemon.create_blocking(request)).await;
        made.map_err(|e| Refusal::internal(format!("creating the container failed: {e}")))?
    }

    fn create_blocking(self: &Arc<Self>, mut request: CreateRequest) -> Result<Created> {
        let CreateRequest { config, host, platform, .. } = &mut request;
        settings::check_host(host, host::cpus()).map_err(Refusal::bad)?;
        checks::check(config, host).map_err(Refusal::bad)?;
        let image = self.image_for(&config.image, platform.as_ref())?;
        let own = RunConfig::default();
        settings::merge_image(config, image.as_ref().and_then(|i| i.config.config.as_ref()).unwrap_or(&own));
        check_config(config)?;
        config.volumes = config.volumes.take().filter(|v| !v.is_empty());
        super::caps::check(host)?;
        settings::fill_host(host, &self.config, host::is_pure_cgroup2());
        let id = names::new_id();
        let name = self.reserve_name(&request.name, &id)?;
        let made = self.make(&id, &name, request, image.as_deref());
        if made.is_err() {
            self.containers.release(&name);
            self.store.remove_writable(&id);
            // It may never have been made.
            let _ = std::fs::remove_dir_all(self.container_dir(&id));
        }
        made
    }

    fn image_for(&self, name: &str, platform: Option<&Platform>) -> Result<Option<Arc<Image>>> {
        if name.is_empty() {
            return Ok(None);
        }
        let image = self.store.lookup(name)?;
        let own = Platform {
            os: image.config.os.clone(),
            architecture: image.config.architecture.clone(),
            variant: image.config.variant.clone(),
        };
        if let Some(wanted) = platform.filter(|wanted| !wanted.runs(&own)) {
            // Not found: clients pull the right one then.
            return Err(Refusal::missing(format!(
                "image with reference {name} was found but does not match the specified platform: wanted {wanted}, actual: {own}"
            )));
        }
        Ok(Some(image))
    }

    fn reserve_name(&self, asked: &str, id: &str) -> Result<String> {
        let shown = asked;
        let asked = asked.strip_prefix('/').unwrap_or(asked);
        if !shown.is_empty() {
            if !names::is_valid(asked) {
                return Err(Refusal::bad(format!(
                    "Invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
                )));
            }
            self.containers.reserve(asked, id)?;
            return Ok(asked.to_owned());
        }
        for attempt in 0..10 {
            let name = names::random(attempt);
            if self.containers.reserve(&name, id).is_ok() {
                return Ok(name);
            }
        }
        let name = names::short(id).to_owned();
        self.containers.reserve(&name, id)?;
        Ok(name)
    }

    fn make(
        self: &Arc<Self>,
        id: &str,
        name: &str,
        request: CreateRequest,
        image: Option<&Image>,
    ) -> Result<Created> {
        let CreateRequest { mut config, mut host, networking, flat_readonly, .. } = request;
        if let Some(other) = host.network_of() {
            // One that is not there yet is looked for at the start.
            if let Ok(other) = self.containers.find(other) {
                host.network_mode = format!("container:{}", other.id);
            }
        }
        for mode in [&host.pid_mode, &host.ipc_mode] {
            if let Some(other) = mode.strip_prefix("container:") {
                // Not "not found": for that, clients would pull the image.
                self.containers.find(other).map_err(|e| Refusal::bad(e.message))?;
            }
        }
        self.resolve_links(&mut host)?;
        let networks = self.planned_networks(&config, &host, networking)?;
        if config.hostname.is_empty() && host.network_of().is_none() {
            config.hostname =
                if host.network() == "host" { host::name() } else { names::short(id).to_owned() };
        }
        let warnings = warnings(&mut host);
        let inherited = self.inherited_mounts(&host)?;
        let declared = config.volumes.clone().unwrap_or_default();
        let mut planned = mounts::plan(&host, declared.keys(), inherited).map_err(Refusal::bad)?;
        mounts::watch_root(&mut planned, &host, &self.config.data_root).map_err(Refusal::bad)?;
        if flat_readonly {
            planned.iter_mut().for_each(|p| p.mount.readonly_below = false);
        }
        check_driver(&host, &planned)?;
        // Synced below, together with the container's own record.
        self.store.create_writable(id, image.map(|i| &i.id), false)?;
        let mounts = self.make_volumes(id, planned)?;
        let mut command = config.entrypoint.clone().unwrap_or_default();
        command.extend(config.cmd.clone().unwrap_or_default());
        let record = Record {
            id: id.to_owned(),
            name: name.to_owned(),
            created: clock::now(),
            path: command[0].clone(),
            args: command[1..].to_vec(),
            image_id: image.map(|i| i.id.to_string()).unwrap_or_default(),
            config,
            host,
            mounts,
            networks,
            ..Record::default()
        };
        let dir = self.container_dir(id);
        std::fs::create_dir_all(dir.join("mounts"))?;
        let container = Arc::new(Container::new(dir, record));
        // The names of both folders must survive as well.
        container.save_new(&self.store.writable_files(id), &self.config.data_root.join("containers"))?;
        self.containers.insert(container.clone());
        self.tell_container(&container, "create");
        Ok(Created { container, warnings })
    }

    fn inherited_mounts(&self, host: &HostConfig) -> Result<Vec<Mounted>> {
        let mut inherited: Vec<Mounted> = Vec::new();
        for spec in host.volumes_from.iter().flatten() {
            let (name, rw) = mounts::split_volumes_from(spec).map_err(Refusal::bad)?;
            // Not "not found": for that, clients would pull the image.
            let other = self.containers.find(name).map_err(|e| Refusal::bad(e.message))?;
            for mount in &other.record().mounts {
                let mount = Mounted { rw: mount.rw && rw, no_copy: true, ..mount.clone() };
                inherited.retain(|m| m.target != mount.target);
                inherited.push(mount);
            }
        }
        Ok(inherited)
    }

    /// Makes the volumes that are missing and fills empty ones from the image.
    fn make_volumes(&self, id: &str, planned: Vec<Planned>) -> Result<Vec<Mounted>> {
        let mut mounts = Vec::new();
        for Planned { mut mount, labels, options } in planned {
            if mount.kind == "volume" {
                let wanted = Volume {
                    name: mount.name.clone(),
                    labels,
                    options,
                    anonymous: mount.anonymous,
                    ..Volume::default()
                };
                let (volume, new) = self.volumes.create(wanted)?;
                if new {
                    self.events.tell(
                        "volume",
                        "create",
                        &volume.name,
                        events::attributes([("driver", "local")]),
                    );
                }
                mount.source = self.volumes.data_dir(&volume.name);
                mount.name = volume.name;
                if !mount.no_copy {
                    self.copy_up(id, &mount)?;
                }
            }
            mounts.push(mount);
        }
        Ok(mounts)
    }

    /// What the container will be connected to when it starts.
    fn planned_networks(
        &self,
        config: &RunConfig,
        host: &HostConfig,
        networking: NetworkingConfig,
    ) -> Result<BTreeMap<String, EndpointSettings>> {
        let mode = self.network_name(host.network());
        if host.network_of().is_some() || config.network_disabled {
            return Ok(BTreeMap::new());
        }
        let mut asked = networking.endpoints_config;
        if let Some(own) = asked.remove("default") {
            asked.entry("bridge".into()).or_insert(own);
        }
        if asked.is_empty() {
            asked.insert(mode.clone(), EndpointSettings::default());
        }
        // Whatever they were called by, they are kept by name.
        let mut planned: BTreeMap<String, EndpointSettings> =
            asked.into_iter().map(|(name, settings)| (self.network_name(&name), settings)).collect();
        for (name, settings) in &mut planned {
            if *name != mode && matches!(mode.as_str(), "host" | "none") {
                return Err(Refusal::bad(
                    "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
                ));
            }
            if settings.mac_address.is_empty() && *name == mode {
                settings.mac_address.clone_from(&config.mac_address);
            }
            // A network may be made between now and the start, which looks again.
            if self.networks.find(name).is_ok() {
                self.check_endpoint(name, settings)?;
            }
        }
        Ok(planned)
    }

    pub(crate) fn tell_container(&self, container: &Container, action: &str) {
        self.events.tell("container", action, &container.id, container.event_attributes());
    }

    /// The same, with attributes of its own.
    pub(crate) fn tell_container_with(&self, container: &Container, action: &str, more: &[(&str, &str)]) {
        let mut attributes = container.event_attributes();
        attributes.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        self.events.tell("container", action, &container.id, attributes);
    }
}

/// `--volume-driver` is for the volumes that `-v` names.
fn check_driver(host: &HostConfig, planned: &[Planned]) -> Result<()> {
    let driver = host.volume_driver.as_str();
    let named = planned.iter().find(|p| p.mount.kind == "volume");
    match named.filter(|_| !matches!(driver, "" | "local")) {
        Some(planned) => Err(Refusal::missing(format!(
            "create {}: error looking up volume plugin {driver}: plugin \"{driver}\" not found",
            planned.mount.name
        ))),
        None => Ok(()),
    }
}

fn check_config(config: &RunConfig) -> Result<()> {
    let none = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    if none(&config.entrypoint) && none(&config.cmd) {
        return Err(Refusal::bad("No command specified"));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Refusal::bad(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if config.env.iter().flatten().any(|e| e.is_empty() || e.starts_with('=')) {
        let bad = config.env.iter().flatten().find(|e| e.is_empty() || e.starts_with('=')).cloned();
        return Err(Refusal::bad(format!("invalid environment variable: {}", bad.unwrap_or_default())));
    }
    if let Some(health) = &config.healthcheck {
        check_health(health)?;
    }
    if !config.stop_signal.is_empty() {
        super::kill::parse_signal(&config.stop_signal)?;
    }
    Ok(())
}

fn check_health(health: &engine_image::Healthcheck) -> Result<()> {
    for (name, value) in [("Interval", health.interval), ("Timeout", health.timeout)] {
        if value != 0 && value < 1_000_000 {
            return Err(Refusal::bad(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if health.retries < 0 {
        return Err(Refusal::bad("Retries in Healthcheck cannot be negative"));
    }
    if health.start_period != 0 && health.start_period < 1_000_000 {
        return Err(Refusal::bad("StartPeriod in Healthcheck cannot be less than 1ms"));
    }
    Ok(())
}

pub(crate) const NO_BLKIO_WEIGHT: &str =
    "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.";

/// What cannot be had here, taken out of the request.
fn warnings(host: &mut HostConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if host.blkio_weight > 0 && !host::has_blkio_weight() {
        host.blkio_weight = 0;
        warnings.push(NO_BLKIO_WEIGHT.to_owned());
    }
    let mut lacking = |controller: &str, asked: bool, text: &str| {
        if asked && !host::has_controller(controller) {
            warnings.push(text.to_owned());
        }
    };
    lacking(
        "memory",
        host.memory > 0,
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
    );
    lacking(
        "pids",
        host.pids_limit.is_some_and(|n| n > 0),
        "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
    );
    lacking(
        "cpu",
        host.nano_cpus > 0 || host.cpu_quota > 0,
        "Your kernel does not support CPU CFS quota or the cgroup is not mounted. Quota discarded.",
    );
    lacking(
        "cpuset",
        !host.cpuset_cpus.is_empty(),
        "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
    );
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".into());
    }
    if host.network_mode == "host" && host.port_bindings.as_ref().is_some_and(|p| !p.is_empty()) {
        warnings.push("Published ports are discarded when using host network mode".into());
    }
    warnings
}
