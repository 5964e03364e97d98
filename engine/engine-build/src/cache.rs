//! The build cache: an image made here from the same parent by the same step.

use std::sync::Arc;

use engine_image::{Image, ImageId, RunConfig, Store};

/// Finds the newest image whose step equals this one; `parent` none = from scratch.
pub(crate) fn probe(store: &Store, parent: Option<&ImageId>, step: &RunConfig) -> Option<Arc<Image>> {
    let images = store.images().into_iter().filter(|image| image.parent.as_ref() == parent);
    let same =
        images.filter(|image| image.config.container_config.as_ref().is_some_and(|made| equal(made, step)));
    same.max_by(|a, b| a.config.created.cmp(&b.config.created))
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
