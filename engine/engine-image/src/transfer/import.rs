//! `docker import`: a root file system becomes an image of one layer.

use std::io::BufRead;

use crate::config::{History, ImageConfig, RootFs, RunConfig, now_rfc3339};
use crate::digest::ImageId;
use crate::error::Result;
use crate::event::{Event, Sink};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::Store;

/// What to make of an imported tree.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    pub reference: Option<Reference>,
    /// `-m`; without one, Docker's `Imported from SOURCE`.
    pub comment: String,
    /// The configuration that `changes` made.
    pub config: RunConfig,
    pub platform: Option<Platform>,
}

impl Store {
    /// Imports a tar, compressed or not. The last event is the image's ID.
    pub fn import(
        &self,
        tree: impl BufRead + Send,
        options: &ImportOptions,
        sink: &dyn Sink,
    ) -> Result<ImageId> {
        let layer = self.import_layer(tree)?;
        let created = now_rfc3339();
        let platform = options.platform.clone().unwrap_or_else(Platform::here);
        let config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            config: Some(options.config.clone()),
            container_config: Some(RunConfig::default()),
            created: created.clone(),
            docker_version: crate::DOCKER_VERSION.into(),
            history: vec![History { created, comment: options.comment.clone(), ..History::default() }],
            rootfs: RootFs { diff_ids: vec![*layer.diff_id()], ..RootFs::default() },
            ..ImageConfig::default()
        };
        let image = self.create_image(&config, None)?;
        if let Some(reference) = &options.reference {
            self.tag(&image.id, reference)?;
        }
        sink.event(Event::status(image.id.to_string()));
        Ok(image.id)
    }
}
