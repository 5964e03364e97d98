//! What each instruction does to the stage.

use std::os::fd::{AsFd, BorrowedFd};

use engine_image::config::{Empty, now_rfc3339};
use engine_image::{DiffId, History, ImageConfig, ImageId, LayerHold, RunConfig};

use crate::builder::Builder;
use crate::cache::Hit;
use crate::copy::{self, Destination, Source};
use crate::dockerfile::expand::Expander;
use crate::dockerfile::{Command, RunForm};
use crate::download::Downloaded;
use crate::error::BuildError;
use crate::{cache, golang, ports, signals, users};

const NEEDS_BUILDKIT: &str =
    "Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled";

impl Builder {
    pub(crate) fn dispatch(&mut self, command: &Command) -> Result<(), BuildError> {
        match command {
            Command::From { .. } => Err(BuildError::failed("FROM is no step")),
            Command::Arg(arguments) => self.arg(arguments),
            Command::Env(pairs) => self.env(pairs),
            Command::Label { pairs, literal } => self.label(pairs, *literal),
            Command::Maintainer(name) => {
                self.stage.maintainer.clone_from(name);
                self.commit_comment(&format!("MAINTAINER {name}"))
            }
            Command::Run { form, buildkit_flag } => self.run(form, buildkit_flag.as_deref()),
            Command::Cmd(form) => self.cmd(form),
            Command::Entrypoint(form) => self.entrypoint(form),
            Command::Shell(shell) => {
                self.stage.config.shell = Some(shell.clone());
                self.commit_comment(&format!("SHELL [{}]", shell.join(" ")))
            }
            Command::Copy { add, from, chown, chmod, sources, destination } => {
                self.copy(*add, from, chown, chmod, sources, destination)
            }
            Command::Workdir(path) => self.workdir(path),
            Command::User(user) => {
                self.stage.config.user = self.expand(user)?;
                self.commit_comment(&format!("USER {}", self.stage.config.user))
            }
            Command::Volume(volumes) => self.volume(volumes),
            Command::Expose(ports) => self.expose(ports),
            Command::StopSignal(signal) => {
                let signal = self.expand(signal)?;
                if !signals::is_signal(&signal) {
                    return Err(BuildError::failed(format!("Invalid signal: {signal}")));
                }
                self.stage.config.stop_signal.clone_from(&signal);
                self.commit_comment(&format!("STOPSIGNAL {signal}"))
            }
            Command::Healthcheck(check) => self.healthcheck(check),
            Command::OnBuild(trigger) => {
                self.stage.config.on_build.get_or_insert_default().push(trigger.clone());
                self.commit_comment(&format!("ONBUILD {trigger}"))
            }
        }
    }

    fn arg(&mut self, arguments: &[(String, Option<String>)]) -> Result<(), BuildError> {
        let mut shown = Vec::new();
        for (name, value) in arguments {
            let name = self.expand(name)?;
            let value = value.as_deref().map(|value| self.expand(value)).transpose()?;
            shown.push(value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}")));
            self.arguments.add(&name, value);
        }
        self.commit_comment(&format!("ARG {}", shown.join(" ")))
    }

    fn env(&mut self, pairs: &[(String, String)]) -> Result<(), BuildError> {
        let pairs = self.expand_pairs(pairs)?;
        let mut comment = String::from("ENV");
        for (name, value) in pairs {
            let pair = format!("{name}={value}");
            comment.push(' ');
            comment.push_str(&pair);
            let environment = self.stage.config.env.get_or_insert_default();
            match environment.iter_mut().find(|known| known.split('=').next() == Some(name.as_str())) {
                Some(known) => *known = pair,
                None => environment.push(pair),
            }
        }
        self.commit_comment(&comment)
    }

    fn label(&mut self, pairs: &[(String, String)], literal: bool) -> Result<(), BuildError> {
        let pairs = if literal { pairs.to_vec() } else { self.expand_pairs(pairs)? };
        let mut comment = String::from("LABEL");
        for (name, value) in pairs {
            comment.push_str(&format!(" {name}={value}"));
            self.stage.config.labels.get_or_insert_default().insert(name, value);
        }
        self.commit_comment(&comment)
    }

    fn run(&mut self, form: &RunForm, buildkit_flag: Option<&str>) -> Result<(), BuildError> {
        if let Some(flag) = buildkit_flag {
            return Err(BuildError::failed(format!(
                "the --{flag} option requires BuildKit. {NEEDS_BUILDKIT}"
            )));
        }
        let command = self.command_line(form);
        let environment = self.stage.config.env.clone().unwrap_or_default();
        let arguments = self.arguments.environment(&environment);
        let counted = self.arguments.cached(&arguments);
        let mut cached_command = command.clone();
        if !counted.is_empty() {
            let marker = format!("|{}", counted.len());
            cached_command = std::iter::once(marker).chain(counted).chain(command.clone()).collect();
        }
        let probe = RunConfig { cmd: Some(cached_command), entrypoint: None, ..self.stage_config() };
        if self.probe_cache(&probe) {
            return Ok(());
        }
        let mut all_environment = environment;
        all_environment.extend(arguments);
        let config = RunConfig {
            cmd: Some(command),
            env: Some(all_environment),
            entrypoint: None,
            healthcheck: None,
            ..self.stage_config()
        };
        let id = self.announce_container();
        let layer = self.run_step(&id, &config)?;
        let Some(writable) = layer.take() else { return Ok(()) };
        let hold = self
            .store
            .turn_into_layer(&writable)
            .inspect_err(|_| self.store.remove_writable(&writable.id))?;
        self.commit(Some(&id), probe, Some(hold))?;
        self.announce_removal(&id);
        Ok(())
    }

    fn cmd(&mut self, form: &RunForm) -> Result<(), BuildError> {
        let command = self.command_line(form);
        let comment = format!("CMD {}", golang::quote_list(&command));
        self.stage.config.cmd = Some(command);
        self.stage.cmd_set = true;
        self.commit_comment(&comment)
    }

    fn entrypoint(&mut self, form: &RunForm) -> Result<(), BuildError> {
        let command = self.command_line(form);
        let comment = format!("ENTRYPOINT {}", golang::quote_list(&command));
        self.stage.config.entrypoint = Some(command);
        if !self.stage.cmd_set {
            self.stage.config.cmd = None;
        }
        self.commit_comment(&comment)
    }

    fn healthcheck(&mut self, check: &engine_image::Healthcheck) -> Result<(), BuildError> {
        if let Some(old) = &self.stage.config.healthcheck
            && old.test.first().is_some_and(|first| first != "NONE")
        {
            self.print(&format!("Note: overriding previous HEALTHCHECK: [{}]\n", old.test.join(" ")));
        }
        let comment = format!(
            "HEALTHCHECK &{{{} {} {} {} {}}}",
            golang::quote_list(&check.test),
            golang::quote(&golang::duration(check.interval)),
            golang::quote(&golang::duration(check.timeout)),
            golang::quote(&golang::duration(check.start_period)),
            golang::quote_number(check.retries),
        );
        self.stage.config.healthcheck = Some(check.clone());
        self.commit_comment(&comment)
    }

    fn volume(&mut self, volumes: &[String]) -> Result<(), BuildError> {
        let volumes: Vec<String> =
            volumes.iter().map(|volume| self.expand(volume)).collect::<Result<_, _>>()?;
        if volumes.iter().any(String::is_empty) {
            return Err(BuildError::failed("VOLUME specified can not be an empty string"));
        }
        let set = self.stage.config.volumes.get_or_insert_default();
        set.extend(volumes.iter().map(|volume| (volume.clone(), Empty {})));
        self.commit_comment(&format!("VOLUME [{}]", volumes.join(" ")))
    }

    fn expose(&mut self, words: &[String]) -> Result<(), BuildError> {
        let mut list = Vec::new();
        for word in words {
            let environment = self.environment();
            let expander = Expander { escape: self.escape, environment: &environment };
            list.extend(expander.words(word).map_err(BuildError::bad_request)?);
        }
        list.sort();
        for word in &list {
            for port in ports::expand(word).map_err(BuildError::failed)? {
                self.stage.config.exposed_ports.insert(port, Empty {});
            }
        }
        self.commit_comment(&format!("EXPOSE {}", list.join(" ")))
    }

    fn workdir(&mut self, path: &str) -> Result<(), BuildError> {
        let path = self.expand(path)?;
        if path.is_empty() {
            return Err(BuildError::failed("cannot normalize nothing"));
        }
        let base = std::path::Path::new("/").join(&self.stage.config.working_dir).join(&path);
        let folder = std::path::Path::new("/").join(engine_image::dirfd::clean(&base));
        self.stage.config.working_dir = folder.to_string_lossy().into_owned();
        let step = self.comment_step(&[&format!("#(nop) WORKDIR {}", self.stage.config.working_dir)]);
        if self.probe_cache(&step) {
            return Ok(());
        }
        let id = self.announce_container();
        let inside = self.stage.config.working_dir.clone();
        let layer = self.fill_layer(|root| {
            engine_image::dirfd::make_folders_in(root, inside.as_ref(), 0o755, Some((0, 0)))
                .map(drop)
                .map_err(|error| BuildError::failed(format!("could not make {inside}: {error}")))
        })?;
        self.commit(Some(&id), step, Some(layer))?;
        self.announce_removal(&id);
        Ok(())
    }

    fn copy(
        &mut self,
        add: bool,
        from: &str,
        chown: &str,
        chmod: &str,
        sources: &[String],
        destination: &str,
    ) -> Result<(), BuildError> {
        let name = if add { "ADD" } else { "COPY" };
        if !chmod.is_empty() {
            return Err(BuildError::failed(format!(
                "the --chmod option requires BuildKit. {NEEDS_BUILDKIT}"
            )));
        }
        let words: Vec<String> = sources.iter().map(|word| self.expand(word)).collect::<Result<_, _>>()?;
        let destination = self.expand(destination)?;
        let chown = self.expand(chown)?;
        let from_image = if from.is_empty() { None } else { Some(self.copy_from(&self.expand(from)?)?) };
        let root = match &from_image {
            None => self.context.root().try_clone().map_err(|error| BuildError::failed(error.to_string()))?,
            Some(image) => {
                let image = self.store.image(image).ok_or_else(|| BuildError::failed("the image is gone"))?;
                self.store.view_image(&self.store.lower_dirs(&image)?)?
            }
        };
        let mut found: Vec<Source> = Vec::new();
        let mut fetched: Vec<Downloaded> = Vec::new();
        for word in &words {
            if add && (word.starts_with("http://") || word.starts_with("https://")) {
                fetched.push(self.download(word, &destination)?);
                continue;
            }
            let sources = copy::find(root.as_fd(), word, from_image.is_none());
            found.extend(sources.map_err(|error| error.of_instruction(name))?);
        }
        let all: Vec<(BorrowedFd<'_>, &Source)> = found
            .iter()
            .map(|source| (root.as_fd(), source))
            .chain(fetched.iter().map(|file| (file.root().as_fd(), &file.source)))
            .collect();
        if all.is_empty() {
            return Err(BuildError::failed(format!("{name} failed: no source files were specified")));
        }
        if all.len() > 1 && !destination.ends_with('/') {
            return Err(BuildError::failed(format!(
                "When using {name} with more than one source file, the destination must be a directory and end with a /"
            )));
        }
        let shown_chown = if chown.is_empty() { String::new() } else { format!("--chown={chown} ") };
        let comment = format!(
            "#(nop) {name} {shown_chown}{} in {destination} ",
            copy::digest_of(all.iter().map(|(_, source)| *source))
        );
        let step = self.comment_step(&[&comment]);
        if self.probe_cache(&step) {
            return Ok(());
        }
        let path = self.destination(&destination);
        let keep_owner = from_image.is_some() && chown.is_empty();
        let layer = self.fill_layer(|target| {
            let owner = match chown.as_str() {
                "" => Some((0, 0)),
                chown => Some(users::owner(chown, target).map_err(|reason| {
                    BuildError::failed(format!(
                        "unable to convert uid/gid chown string to host mapping: {reason}"
                    ))
                })?),
            };
            let owner = if keep_owner { None } else { owner };
            let to = Destination { root: target, path: &path, owner, unpack: add };
            all.iter().try_for_each(|(from, source)| copy::copy(*from, source, &to))
        })?;
        self.commit(None, step, Some(layer))
    }

    /// The image that `--from` names: a stage by name or number, or any image.
    fn copy_from(&mut self, from: &str) -> Result<ImageId, BuildError> {
        if let Some(image) = self.finished_stage(from) {
            return Ok(image);
        }
        if let Ok(number) = from.parse::<usize>() {
            return match self.finished.get(number) {
                Some((_, image)) => Ok(*image),
                None if number == self.finished.len() => Err(BuildError::failed(format!(
                    "invalid from flag value {from}: invalid from flag value {from} refers to current build block"
                ))),
                None => {
                    Err(BuildError::failed(format!("invalid from flag value {from}: index out of bounds")))
                }
            };
        }
        let platform = self.options.platform.clone();
        self.get_image(from, &platform)
            .map_err(|error| BuildError::failed(format!("invalid from flag value {from}: {error}")))
    }

    /// Absolute, the slash at the end kept.
    fn destination(&self, written: &str) -> String {
        let base = std::path::Path::new("/").join(&self.stage.config.working_dir).join(written);
        let clean =
            std::path::Path::new("/").join(engine_image::dirfd::clean(&base)).to_string_lossy().into_owned();
        let is_folder = written.ends_with('/') || written == "." || written.ends_with("/.");
        if is_folder && !clean.ends_with('/') { format!("{clean}/") } else { clean }
    }

    /// Changes the stage's files without a container and makes a layer of the changes.
    fn fill_layer(
        &self,
        fill: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> Result<(), BuildError>,
    ) -> Result<LayerHold, BuildError> {
        let image = self.stage.image.as_ref().and_then(|image| self.store.image(image));
        let lowers = image.map(|image| self.store.lower_dirs(&image)).transpose()?.unwrap_or_default();
        self.store.layer_from(&lowers, |root| fill(root).map_err(Box::new))?.map_err(|error| *error)
    }

    /// A step that only changes the configuration.
    fn commit_comment(&mut self, comment: &str) -> Result<(), BuildError> {
        let step = self.comment_step(&["#(nop) ", comment]);
        if self.probe_cache(&step) {
            return Ok(());
        }
        let id = self.announce_container();
        self.commit(Some(&id), step, None)?;
        self.announce_removal(&id);
        Ok(())
    }

    /// Makes the image of a step and moves the stage on to it.
    fn commit(
        &mut self,
        container: Option<&str>,
        mut step: RunConfig,
        layer: Option<LayerHold>,
    ) -> Result<(), BuildError> {
        let parent = self.stage.image.and_then(|image| self.store.image(&image));
        let base = parent.as_ref().map(|image| image.config.clone()).unwrap_or_default();
        let here = engine_image::Platform::here();
        let layer = layer.filter(|layer| !layer.diff_id().is_of_nothing());
        let created = now_rfc3339();
        let mut history = base.history;
        history.push(History {
            created: created.clone(),
            author: self.stage.maintainer.clone(),
            created_by: step.cmd.as_deref().unwrap_or_default().join(" "),
            comment: String::new(),
            empty_layer: layer.is_none(),
        });
        let mut rootfs = base.rootfs;
        rootfs.diff_ids.extend(layer.iter().map(|layer| *layer.diff_id()));
        if let Some(id) = container {
            step.hostname = id[..12].to_owned();
        }
        let pick = |value: String, default: String| if value.is_empty() { default } else { value };
        let config = ImageConfig {
            architecture: pick(base.architecture, here.architecture),
            os: pick(base.os, here.os),
            variant: base.variant,
            os_version: base.os_version,
            author: self.stage.maintainer.clone(),
            config: Some(self.stage_config()),
            container: container.unwrap_or_default().to_owned(),
            container_config: Some(step),
            created,
            docker_version: engine_image::DOCKER_VERSION.into(),
            history,
            rootfs,
        };
        let image = self.store.create_image(&config, self.stage.image)?;
        self.stage.image = Some(image.id);
        Ok(())
    }

    /// True if the step was made before; the stage is there then.
    fn probe_cache(&mut self, step: &RunConfig) -> bool {
        if self.options.no_cache || self.cache_missed {
            return false;
        }
        let parent = self.stage.image.as_ref();
        let found = match &self.cache_sources {
            None => cache::probe(&self.store, parent, step).map(|image| Hit::Image(image.id)),
            Some(sources) => cache::probe_in(&self.store, sources, parent, step),
        };
        let image = match found {
            Some(Hit::Image(image)) => Some(image),
            Some(Hit::Step { next, layer }) => self.restore(step, next, layer),
            None => None,
        };
        let Some(image) = image else {
            self.cache_missed = true;
            return false;
        };
        self.print(" ---> Using cache\n");
        self.stage.image = Some(image);
        true
    }

    /// An image of the step of one that came from elsewhere. What cannot be made is built again.
    fn restore(&self, step: &RunConfig, next: History, layer: Option<DiffId>) -> Option<ImageId> {
        let parent = self.stage.image.and_then(|image| self.store.image(&image));
        let mut config = parent.as_ref().map(|image| image.config.clone()).unwrap_or_default();
        let here = engine_image::Platform::here();
        if config.architecture.is_empty() {
            (config.architecture, config.os) = (here.architecture, here.os);
        }
        config.created.clone_from(&next.created);
        config.history.push(next);
        config.rootfs.diff_ids.extend(layer);
        config.config = Some(self.stage_config());
        config.container_config = Some(step.clone());
        match self.store.create_image(&config, self.stage.image) {
            Ok(image) => Some(image.id),
            Err(error) => {
                tracing::debug!(error = %error.report(), "could not take a step from the cache");
                None
            }
        }
    }

    fn announce_container(&self) -> String {
        let id = self.new_id();
        self.print(&format!(" ---> Running in {}\n", &id[..12]));
        id
    }

    fn announce_removal(&self, id: &str) {
        if self.options.remove || self.options.force_remove {
            self.print(&format!("Removing intermediate container {}\n", &id[..12]));
        }
    }

    /// The stage's configuration as a new container of it would have it.
    fn stage_config(&self) -> RunConfig {
        let image = self.stage.image.map(|image| image.to_string()).unwrap_or_default();
        RunConfig { image, ..self.stage.config.clone() }
    }

    fn comment_step(&self, words: &[&str]) -> RunConfig {
        let shell = self.shell().into_iter().chain(words.iter().map(|word| (*word).to_owned()));
        RunConfig { cmd: Some(shell.collect()), ..self.stage_config() }
    }

    fn shell(&self) -> Vec<String> {
        match self.stage.config.shell.as_deref() {
            Some(shell) if !shell.is_empty() => shell.to_vec(),
            _ => vec!["/bin/sh".into(), "-c".into()],
        }
    }

    fn command_line(&self, form: &RunForm) -> Vec<String> {
        match form {
            RunForm::Exec(list) => list.clone(),
            RunForm::Shell(text) if text.is_empty() => self.shell(),
            RunForm::Shell(text) => self.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    fn environment(&self) -> Vec<String> {
        let mut environment = self.stage.config.env.clone().unwrap_or_default();
        let arguments = self.arguments.environment(&environment);
        environment.extend(arguments);
        environment
    }

    fn expand(&self, word: &str) -> Result<String, BuildError> {
        let environment = self.environment();
        let expander = Expander { escape: self.escape, environment: &environment };
        expander.word(word).map_err(BuildError::bad_request)
    }

    fn expand_pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, BuildError> {
        pairs.iter().map(|(name, value)| Ok((self.expand(name)?, self.expand(value)?))).collect()
    }
}
