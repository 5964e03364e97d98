//! One build: stages in order, each step from the cache, by copying, or in a container of the host's.
//!
//! Runs on a blocking thread; only running a step and pulling wait on async work. Nothing outlives a build but
//! finished images: step layers are held by guards.

use std::sync::Arc;

use engine_image::digest::Hasher;
use engine_image::{Event, ImageId, Reference, RunConfig, Sink, Store, Writable};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::arguments::Arguments;
use crate::context::Context;
use crate::dockerfile::expand::Expander;
use crate::dockerfile::{Command, Dockerfile, Instruction, Stage, parse_instruction};
use crate::error::BuildError;
use crate::host::{Host, RunStep, StepOutput, StepStream};
use crate::options::BuildOptions;

pub(crate) const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything one build knows.
pub(crate) struct Builder {
    pub store: Store,
    pub host: Arc<dyn Host>,
    pub options: Arc<BuildOptions>,
    pub sink: Arc<dyn Sink>,
    pub context: Context,
    pub runtime: Handle,
    pub cancelled: watch::Receiver<bool>,
    pub escape: char,
    pub arguments: Arguments,
    /// Of `--cache-from`: the images that alone are cache.
    pub cache_sources: Option<Vec<Arc<engine_image::Image>>>,
    /// A step was not in the cache, so none after it is.
    pub cache_missed: bool,
    /// Finished stages: name and image.
    pub finished: Vec<(String, ImageId)>,
    pub stage: Current,
}

/// The stage being built.
#[derive(Default)]
pub(crate) struct Current {
    /// None until something was made from scratch.
    pub image: Option<ImageId>,
    pub config: RunConfig,
    pub maintainer: String,
    /// `CMD` was given in this Dockerfile, so that `ENTRYPOINT` leaves it.
    pub cmd_set: bool,
}

impl Builder {
    /// Builds up to the target and names the result.
    pub(crate) fn build(&mut self, mut dockerfile: Dockerfile) -> Result<ImageId, BuildError> {
        self.escape = dockerfile.escape;
        if !self.options.target.is_empty() {
            let target = dockerfile.stage(&self.options.target).ok_or_else(|| {
                let target = &self.options.target;
                BuildError::bad_request(format!("failed to reach build target {target} in Dockerfile"))
            })?;
            dockerfile.stages.truncate(target + 1);
        }
        self.add_client_labels(&mut dockerfile);
        if !dockerfile.warnings.is_empty() {
            self.print_error(&format!("{}\n", dockerfile.warnings.join("\n")));
        }
        let commands: usize = dockerfile.stages.iter().map(|stage| stage.commands.len() + 1).sum();
        let mut steps = Steps { done: 0, all: commands + dockerfile.meta_args.len() };
        for argument in &dockerfile.meta_args {
            self.announce(&mut steps, &argument.text);
            self.meta_argument(argument)?;
        }
        for stage in &dockerfile.stages {
            self.build_stage(stage, &mut steps)?;
        }
        let unused = self.arguments.unused();
        if !unused.is_empty() {
            let list = unused.join(" ");
            self.print(&format!("[Warning] One or more build-args [{list}] were not consumed\n"));
        }
        self.stage
            .image
            .ok_or_else(|| BuildError::failed("No image was generated. Is your Dockerfile empty?"))
    }

    fn build_stage(&mut self, stage: &Stage, steps: &mut Steps) -> Result<(), BuildError> {
        self.check_cancelled()?;
        if self.finished_stage(&stage.name).is_some() {
            return Err(BuildError::failed(format!("{} stage name already used", stage.name)));
        }
        self.announce(steps, &stage.text);
        self.begin_stage(stage)?;
        self.print_image();
        for instruction in &stage.commands {
            self.check_cancelled()?;
            self.announce(steps, &instruction.text);
            self.dispatch(&instruction.command)?;
            self.print_image();
        }
        if let Some(image) = self.stage.image {
            let value = serde_json::json!({"ID": image});
            if !self.options.quiet {
                self.sink.event(Event::Aux { push: false, value });
            }
            self.finished.push((stage.name.clone(), image));
        }
        Ok(())
    }

    fn begin_stage(&mut self, stage: &Stage) -> Result<(), BuildError> {
        self.cache_missed = false;
        self.arguments.begin_stage();
        let environment = self.arguments.meta_environment();
        let expander = Expander { escape: self.escape, environment: &environment };
        let name = expander.word(&stage.from).map_err(BuildError::bad_request)?;
        if name.is_empty() {
            return Err(BuildError::failed(format!("base name ({}) should not be blank", stage.from)));
        }
        let platform = expander.word(&stage.platform).map_err(BuildError::bad_request)?;
        let platform = if platform.is_empty() { self.options.platform.clone() } else { platform };
        let mut current = Current::default();
        if name != "scratch" {
            let image = match self.finished_stage(&name) {
                Some(image) => image,
                None => self.get_image(&name, &platform)?,
            };
            current.image = Some(image);
            let image = self
                .store
                .image(&image)
                .ok_or_else(|| BuildError::failed(format!("No such image: {name}")))?;
            current.config = image.config.config.clone().unwrap_or_default();
            current.cmd_set = false;
        }
        set_default_path(&mut current.config);
        current.config.open_stdin = false;
        current.config.stdin_once = false;
        self.stage = current;
        self.run_triggers()
    }

    /// What `ONBUILD` of the base image left to do.
    fn run_triggers(&mut self) -> Result<(), BuildError> {
        let triggers = self.stage.config.on_build.take().unwrap_or_default();
        if triggers.is_empty() {
            return Ok(());
        }
        let plural = if triggers.len() > 1 { "s" } else { "" };
        self.print(&format!("# Executing {} build trigger{plural}", triggers.len()));
        self.print("\n");
        for trigger in &triggers {
            let instruction = parse_instruction(trigger, 1, self.escape)?;
            self.dispatch(&instruction.command)?;
        }
        Ok(())
    }

    pub(crate) fn finished_stage(&self, name: &str) -> Option<ImageId> {
        let lower = name.to_lowercase();
        let named = self.finished.iter().rev().find(|(known, _)| !known.is_empty() && *known == lower);
        named.map(|(_, image)| *image)
    }

    /// An image by name, pulled if it must be.
    pub(crate) fn get_image(&mut self, name: &str, platform: &str) -> Result<ImageId, BuildError> {
        if !self.options.pull
            && let Ok(image) = self.store.lookup(name)
        {
            return Ok(image.id);
        }
        let reference = match Reference::parse(name) {
            Ok(reference) => reference.with_default_tag(),
            Err(error) => {
                return self
                    .store
                    .lookup(name)
                    .map(|image| image.id)
                    .map_err(|_| BuildError::failed(error.to_string()));
            }
        };
        let pulled = self.wait({
            let (host, sink) = (self.host.clone(), self.quiet_sink());
            let (reference, platform) = (reference.clone(), platform.to_owned());
            async move { host.pull(&reference, &platform, sink).await }
        })?;
        pulled.map_err(BuildError::failed)?;
        Ok(self.store.lookup(&reference.canonical())?.id)
    }

    pub(crate) fn quiet_sink(&self) -> Arc<dyn Sink> {
        if self.options.quiet { Arc::new(|_: Event| {}) } else { self.sink.clone() }
    }

    fn meta_argument(&mut self, instruction: &Instruction) -> Result<(), BuildError> {
        let Command::Arg(arguments) = &instruction.command else { return Ok(()) };
        for (name, value) in arguments {
            let environment = self.arguments.meta_environment();
            let expander = Expander { escape: self.escape, environment: &environment };
            let value = value
                .as_deref()
                .map(|value| expander.word(value))
                .transpose()
                .map_err(BuildError::bad_request)?;
            self.arguments.add_meta(name, value);
        }
        Ok(())
    }

    /// `--label` counts as a last instruction.
    fn add_client_labels(&self, dockerfile: &mut Dockerfile) {
        let Some(last) = dockerfile.stages.last_mut() else { return };
        for (name, value) in &self.options.labels {
            let command = Command::Label { pairs: vec![(name.clone(), value.clone())], literal: true };
            last.commands.push(Instruction { command, text: format!("LABEL {name}={value}") });
        }
    }

    /// Runs a command on a new writable layer; the layer afterwards, if the command went well.
    pub(crate) fn run_step(&mut self, id: &str, config: &RunConfig) -> Result<StepLayer, BuildError> {
        let writable = self.store.create_writable(id, self.stage.image.as_ref(), false)?;
        let layer = StepLayer { store: self.store.clone(), writable: Some(writable.clone()) };
        let (sink, quiet) = (self.sink.clone(), self.options.quiet);
        let output: StepOutput = Arc::new(move |stream, bytes| {
            if !quiet {
                let text = String::from_utf8_lossy(bytes);
                sink.event(Event::stream(match stream {
                    StepStream::Stdout => text.into_owned(),
                    StepStream::Stderr => in_red(&text),
                }));
            }
        });
        let step = RunStep {
            id: id.to_owned(),
            layer: writable,
            config: config.clone(),
            limits: self.options.clone(),
            keep_on_failure: !self.options.force_remove,
        };
        let host = self.host.clone();
        let code = self.wait(async move { host.run(step, output).await })?.map_err(BuildError::failed)?;
        if code != 0 {
            let command = config.cmd.as_deref().unwrap_or_default().join(" ");
            return Err(BuildError::Command { command, code });
        }
        Ok(layer)
    }

    /// Waits for async work, or for the client to go away.
    pub(crate) fn wait<T>(&mut self, work: impl Future<Output = T>) -> Result<T, BuildError> {
        let mut cancelled = self.cancelled.clone();
        self.runtime.block_on(async move {
            tokio::select! {
                done = work => Ok(done),
                _ = cancelled.wait_for(|cancelled| *cancelled) => Err(BuildError::Cancelled),
            }
        })
    }

    fn check_cancelled(&self) -> Result<(), BuildError> {
        if *self.cancelled.borrow() || self.cancelled.has_changed().is_err() {
            return Err(BuildError::Cancelled);
        }
        Ok(())
    }

    fn announce(&self, steps: &mut Steps, text: &str) {
        steps.done += 1;
        self.print(&format!("Step {}/{} : {text}", steps.done, steps.all));
        self.print("\n");
    }

    fn print_image(&self) {
        let id = self.stage.image.map(|image| image.short()).unwrap_or_default();
        self.print(&format!(" ---> {id}\n"));
    }

    pub(crate) fn print(&self, text: &str) {
        if !self.options.quiet {
            self.sink.event(Event::stream(text));
        }
    }

    fn print_error(&self, text: &str) {
        self.print(&in_red(text));
    }

    /// A new container ID.
    pub(crate) fn new_id(&self) -> String {
        let mut random = [0; 32];
        if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).is_err() {
            let mut hasher = Hasher::new();
            hasher.update(format!("{:?}", std::time::Instant::now()).as_bytes());
            random = *hasher.finish().as_bytes();
        }
        engine_image::Digest::from_bytes(random).hex()
    }
}

struct Steps {
    done: usize,
    all: usize,
}

/// A step's writable layer; goes with the guard unless it was taken.
pub(crate) struct StepLayer {
    store: Store,
    writable: Option<Arc<Writable>>,
}

impl StepLayer {
    pub(crate) fn take(mut self) -> Option<Arc<Writable>> {
        self.writable.take()
    }
}

impl Drop for StepLayer {
    fn drop(&mut self) {
        if let Some(writable) = &self.writable {
            self.store.remove_writable(&writable.id);
        }
    }
}

/// Docker shows what a step writes to stderr in red.
fn in_red(text: &str) -> String {
    format!("\u{1b}[91m{text}\u{1b}[0m")
}

fn set_default_path(config: &mut RunConfig) {
    let environment = config.env.get_or_insert_default();
    if !environment.iter().any(|pair| pair.starts_with("PATH=")) {
        environment.insert(0, DEFAULT_PATH.to_owned());
    }
}
