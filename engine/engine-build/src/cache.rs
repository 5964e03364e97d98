//! The build cache: an image made here from the same parent by the same step.
//!
//! With `--cache-from` only what the named images are made of counts: those made here by their parents, pulled
//! ones by their history.

use std::sync::Arc;

use engine_image::{DiffId, History, Image, ImageId, RunConfig, Store};

/// Finds the newest image whose step equals this one; `parent` none = from scratch.
pub(crate) fn probe(store: &Store, parent: Option<&ImageId>, step: &RunConfig) -> Option<Arc<Image>> {
    let images = store.images().into_iter().filter(|image| image.parent.as_ref() == parent);
    let same =
        images.filter(|image| image.config.container_config.as_ref().is_some_and(|made| equal(made, step)));
    same.max_by(|a, b| a.config.created.cmp(&b.config.created))
}

/// The same, but only out of what `sources` are made of.
pub(crate) fn probe_in(
    store: &Store,
    sources: &[Arc<Image>],
    parent: Option<&ImageId>,
    step: &RunConfig,
) -> Option<Hit> {
    let found = probe(store, parent, step);
    if let Some(image) = found.filter(|image| sources.iter().any(|source| descends(store, source, image.id)))
    {
        return Some(Hit::Image(image.id));
    }
    let parent = parent.and_then(|id| store.image(id));
    let (steps, layers) = parent
        .as_ref()
        .map_or((0, &[][..]), |image| (image.config.history.len(), image.config.rootfs.diff_ids.as_slice()));
    let made_by = list(&step.cmd).join(" ");
    let fits = |source: &&Arc<Image>| {
        let history = &source.config.history;
        let begins = parent.as_ref().is_none_or(|image| history.starts_with(&image.config.history))
            && source.config.rootfs.diff_ids.starts_with(layers);
        begins && history.get(steps).is_some_and(|next| next.created_by == made_by)
    };
    let source = sources.iter().find(fits)?;
    let next = source.config.history[steps].clone();
    let layer = match next.empty_layer {
        true => None,
        false => Some(*source.config.rootfs.diff_ids.get(layers.len())?),
    };
    Some(Hit::Step { next, layer })
}

/// What the cache has.
pub(crate) enum Hit {
    Image(ImageId),
    /// A step of an image that came from elsewhere: an image of its own is to be made of it.
    Step {
        next: History,
        layer: Option<DiffId>,
    },
}

fn descends(store: &Store, source: &Arc<Image>, ancestor: ImageId) -> bool {
    let mut current = Some(source.id);
    while let Some(id) = current {
        if id == ancestor {
            return true;
        }
        current = store.image(&id).and_then(|image| image.parent);
    }
    false
}

/// The fields Docker compares; host names, working folder and the like do not count.
fn equal(a: &RunConfig, b: &RunConfig) -> bool {
    let no_stdin = !a.open_stdin && !b.open_stdin;
    no_stdin
        && (a.attach_stdout, a.attach_stderr, a.tty) == (b.attach_stdout, b.attach_stderr, b.tty)
        && a.user == b.user
        && list(&a.cmd) == list(&b.cmd)
        && list(&a.env) == list(&b.env)
        && list(&a.entrypoint) == list(&b.entrypoint)
        && a.exposed_ports == b.exposed_ports
        && a.labels.clone().unwrap_or_default() == b.labels.clone().unwrap_or_default()
        && a.volumes.clone().unwrap_or_default() == b.volumes.clone().unwrap_or_default()
}

fn list(values: &Option<Vec<String>>) -> &[String] {
    values.as_deref().unwrap_or_default()
}
