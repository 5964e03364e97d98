//! What the builder needs of the engine: containers for its steps, and images pulled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use engine_api::host_config::{HostConfig, Ulimit};
use engine_build::{BoxFuture, BuildOptions, Fetched, Host, RunStep, StepOutput, StepStream};
use engine_image::registry::Auth;
use engine_image::{Event, ImageId, Platform, Reference, Sink, Writable};
use engine_runtime::spec::{Log, Rootfs};
use engine_runtime::{Chunk, Streams};
use tokio::io::AsyncWriteExt;

use super::Daemon;
use super::container::{Container, Record};
use super::error::{Refusal, Result};
use super::{host, settings, spec};

/// The engine as one build sees it.
pub(crate) struct BuildHost {
    daemon: Arc<Daemon>,
    /// By registry, from the client.
    auths: HashMap<String, Auth>,
}

impl BuildHost {
    /// `auths` is the header X-Registry-Config: base64 of an object of credentials.
    pub(crate) fn new(daemon: &Arc<Daemon>, auths: &str) -> BuildHost {
        let clean = auths.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(clean).unwrap_or_default();
        let auths = serde_json::from_slice(&bytes).unwrap_or_default();
        BuildHost { daemon: daemon.clone(), auths }
    }

    fn auth(&self, reference: &Reference) -> Auth {
        let domain = reference.domain();
        let hub = ["https://index.docker.io/v1/", "index.docker.io", "docker.io"];
        let keys: Vec<&str> = if domain == "docker.io" { hub.to_vec() } else { vec![domain] };
        keys.iter().find_map(|k| self.auths.get(*k)).cloned().unwrap_or_default()
    }
}

impl Host for BuildHost {
    fn run(&self, step: RunStep, output: StepOutput) -> BoxFuture<'_, Result<i64, String>> {
        let daemon = self.daemon.clone();
        Box::pin(async move { daemon.run_step(step, output).await.map_err(|refusal| refusal.message) })
    }

    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a str,
        sink: Arc<dyn Sink>,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let platform = if platform.is_empty() { None } else { Platform::parse(platform).ok() };
            let auth = self.auth(reference);
            let pulled = self
                .daemon
                .registry
                .pull(&self.daemon.store, reference, &auth, platform.as_ref(), &sink)
                .await;
            pulled.map(drop).map_err(|e| e.report())
        })
    }

    fn download<'a>(
        &'a self,
        url: &'a str,
        into: std::fs::File,
        sink: Arc<dyn Sink>,
    ) -> BoxFuture<'a, std::result::Result<Fetched, String>> {
        Box::pin(async move {
            let mut file = tokio::fs::File::from_std(into);
            let mut download = self.daemon.registry.download(url).await.map_err(|e| e.report())?;
            let mut current = 0;
            while let Some(piece) = download.chunk().await.map_err(|e| e.report())? {
                file.write_all(&piece).await.map_err(|e| format!("could not keep {url}: {e}"))?;
                current += piece.len() as u64;
                sink.event(Event::Progress {
                    id: None,
                    status: "Downloading",
                    current,
                    total: download.total,
                });
            }
            file.flush().await.map_err(|e| format!("could not keep {url}: {e}"))?;
            Ok(Fetched { name: download.name, modified: download.modified })
        })
    }

    fn image_event(&self, action: &str, image: &ImageId, name: &str) {
        let attributes = super::events::attributes([("name", name)]);
        self.daemon.events.tell("image", action, image.to_string(), attributes);
    }
}

/// Ends a step whose build was given up, and gives back what it had.
struct Cleanup {
    daemon: Arc<Daemon>,
    container: Arc<Container>,
    program: Mutex<Option<engine_runtime::Container>>,
    armed: bool,
}

impl Cleanup {
    async fn finish(mut self) {
        self.armed = false;
        clean(&self.daemon, &self.container).await;
    }
}

async fn clean(daemon: &Arc<Daemon>, container: &Arc<Container>) {
    daemon.release_sandbox(container).await;
    daemon.clean_runtime(container).await;
    // Only the files of its network are there.
    let _ = std::fs::remove_dir_all(&container.dir);
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (daemon, container) = (self.daemon.clone(), self.container.clone());
        let program = self.program.lock().expect("no code panics holding it").take();
        // The builder touches the layer next: the step must be gone by then, so this blocks for a moment.
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                if let Some(program) = program {
                    // What is dead already needs no signal.
                    let _ = program.kill_all();
                    let _ = tokio::time::timeout(std::time::Duration::from_secs(10), program.wait()).await;
                }
                clean(&daemon, &container).await;
            });
        });
        // A panic in there was printed already.
        let _ = ended.join();
    }
}

impl Daemon {
    async fn run_step(self: &Arc<Self>, step: RunStep, output: StepOutput) -> Result<i64> {
        let mut limits = host_config(&step.limits)?;
        settings::check_host(&limits, host::cpus()).map_err(Refusal::bad)?;
        settings::fill_host(&mut limits, &self.config, host::is_pure_cgroup2());
        let container = self.step_container(&step, limits)?;
        let cleanup = Cleanup {
            daemon: self.clone(),
            container: container.clone(),
            program: Mutex::default(),
            armed: true,
        };
        let code = self.run_in(&cleanup, &step.layer, &output).await;
        cleanup.finish().await;
        code
    }

    fn step_container(&self, step: &RunStep, limits: HostConfig) -> Result<Arc<Container>> {
        let mut config = step.config.clone();
        if config.hostname.is_empty() {
            config.hostname = super::names::short(&step.id).to_owned();
        }
        let command = config.cmd.clone().unwrap_or_default();
        let (path, args) = command.split_first().ok_or_else(|| Refusal::bad("No command specified"))?;
        let mut record = Record {
            id: step.id.clone(),
            name: super::names::short(&step.id).to_owned(),
            created: crate::clock::now(),
            path: path.clone(),
            args: args.to_vec(),
            ..Record::default()
        };
        if limits.network_of().is_none() {
            let name = limits.network().to_owned();
            let settings = engine_api::network::EndpointSettings::default();
            self.check_endpoint(&name, &settings)?;
            record.networks.insert(name, settings);
        }
        record.config = config;
        record.host = limits;
        let dir = self.config.data_root.join("build").join(&step.id);
        std::fs::create_dir_all(&dir)?;
        Ok(Arc::new(Container::new(dir, record)))
    }

    async fn run_in(
        self: &Arc<Self>,
        cleanup: &Cleanup,
        layer: &Writable,
        output: &StepOutput,
    ) -> Result<i64> {
        let container = &cleanup.container;
        let (net, files) = self.build_sandbox(container).await?;
        let limits = container.record().host.clone();
        let cgroup = self.runtime.make_cgroup(&container.id, &spec::resources(&limits)?)?;
        let mut shim_spec = self.spec(container, net, files)?;
        shim_spec.cgroup = cgroup.spec();
        shim_spec.log = Log::None;
        shim_spec.rootfs = Rootfs::Overlay {
            lower: layer.lowers.clone(),
            upper: layer.upper.clone(),
            work: layer.work.clone(),
            volatile: true,
        };
        let program = self.runtime.prepare(&shim_spec).await.map_err(super::start::start_failure)?;
        *cleanup.program.lock().expect("no code panics holding it") = Some(program.clone());
        let mut session = program.attach(Streams::OUTPUT).await?;
        program.start().await.map_err(super::start::start_failure)?;
        loop {
            match session.output.next().await {
                Ok(Chunk::Stdout(bytes)) => output(StepStream::Stdout, &bytes),
                Ok(Chunk::Stderr(bytes)) => output(StepStream::Stderr, &bytes),
                Ok(Chunk::Exit(exit)) => {
                    program.wait().await;
                    return Ok(i64::from(exit.code));
                }
                Err(_) => return Ok(i64::from(program.wait().await.code)),
            }
        }
    }
}

fn host_config(options: &BuildOptions) -> Result<HostConfig> {
    let ulimits: Option<Vec<Ulimit>> = match &options.ulimits {
        None => None,
        Some(value) => Some(
            engine_api::lenient::from_value(value)
                .map_err(|e| Refusal::bad(format!("error reading ulimit settings: {e}")))?,
        ),
    };
    Ok(HostConfig {
        network_mode: options.network_mode.clone(),
        extra_hosts: Some(options.extra_hosts.clone()).filter(|h| !h.is_empty()),
        memory: options.memory,
        memory_swap: options.memory_swap,
        cpu_shares: options.cpu_shares,
        cpu_period: options.cpu_period,
        cpu_quota: options.cpu_quota,
        cpuset_cpus: options.cpuset_cpus.clone(),
        cpuset_mems: options.cpuset_mems.clone(),
        shm_size: options.shm_size,
        security_opt: Some(options.security_opt.clone()).filter(|o| !o.is_empty()),
        ulimits,
        ..HostConfig::default()
    })
}
