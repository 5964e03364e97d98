//! Pull: layers come in parallel and are unpacked while they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use reqwest::{Method, StatusCode, header};
use tokio::sync::Semaphore;

use super::manifest::{Descriptor, Resolved, pull_failure};
use super::session::{Session, bounded, cause, failure};
use super::{Auth, Registry, registry_error};
use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest, ImageId};
use crate::error::{ImageError, Result};
use crate::event::{Event, Sink};
use crate::pipe::{PipeSender, pipe};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{LayerHold, Store};

const LARGEST_CONFIG: usize = 8 << 20;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

impl Registry {
    /// Pulls an image and names it. Dropping the future abandons the pull; nothing of it stays.
    pub async fn pull(
        &self,
        store: &Store,
        reference: &Reference,
        auth: &Auth,
        platform: Option<&Platform>,
        sink: &Arc<dyn Sink>,
    ) -> Result<ImageId> {
        let reference = reference.clone().with_default_tag();
        let pulled = self.pull_verbosely(store, &reference, auth, platform, sink).await;
        pulled.map_err(|error| pull_failure(error, &reference))
    }

    async fn pull_verbosely(
        &self,
        store: &Store,
        reference: &Reference,
        auth: &Auth,
        platform: Option<&Platform>,
        sink: &Arc<dyn Sink>,
    ) -> Result<ImageId> {
        for mirror in self.mirrors(reference.domain()) {
            let url = mirror.url.clone();
            let pulled = match Session::at_mirror(self, mirror, reference.path()).await {
                Ok(session) => self.pull_from(session, store, reference, platform, sink).await,
                Err(error) => Err(error),
            };
            match pulled {
                Ok(id) => return Ok(id),
                Err(error) => tracing::warn!(%url, error = %error.report(), "a mirror was no help"),
            }
        }
        let session = Session::open(self, reference.domain(), reference.path(), auth, "pull").await?;
        self.pull_from(session, store, reference, platform, sink).await
    }

    async fn pull_from(
        &self,
        session: Session,
        store: &Store,
        reference: &Reference,
        platform: Option<&Platform>,
        sink: &Arc<dyn Sink>,
    ) -> Result<ImageId> {
        let name = reference.digest().map(ToString::to_string);
        let name = name.unwrap_or_else(|| reference.tag().unwrap_or("latest").to_owned());
        let top = session.manifest(&name, reference.digest()).await?;
        sink.event(Event::status_of(name, format!("Pulling from {}", reference.path())));
        let digest = top.digest;
        let manifest = session.image_manifest(top, platform).await?;
        let before = store.resolve(reference);
        let id = match store.image(&manifest.config.digest) {
            Some(image) => image.id,
            None => {
                self.fetch_image(store, session, &manifest.config, manifest.layers.clone(), reference, sink)
                    .await?
            }
        };
        sink.event(Event::status(format!("Digest: {digest}")));
        store.tag(&id, &reference.with_digest(digest))?;
        if reference.digest().is_none() {
            store.tag(&id, reference)?;
        }
        let news = if before == Some(id) { "Image is up to date for" } else { "Downloaded newer image for" };
        sink.event(Event::status(format!("Status: {news} {reference}")));
        Ok(id)
    }

    async fn fetch_image(
        &self,
        store: &Store,
        session: Session,
        config: &Descriptor,
        layers: Vec<Descriptor>,
        reference: &Reference,
        sink: &Arc<dyn Sink>,
    ) -> Result<ImageId> {
        for layer in &layers {
            sink.event(Event::layer(layer.digest.short(), "Pulling fs layer"));
        }
        let raw = session.small_blob(config).await?;
        let parsed: ImageConfig = serde_json::from_slice(&raw).map_err(|error| {
            registry_error(format!("invalid image configuration {}: {error}", config.digest), 500)
        })?;
        if parsed.rootfs.diff_ids.len() != layers.len() {
            return Err(registry_error("layers from manifest don't match image configuration", 500));
        }
        let fetch = Arc::new(Fetch {
            store: store.clone(),
            session,
            sink: sink.clone(),
            slots: Semaphore::new(self.inner.config.downloads.max(1)),
            repository: reference.name(),
            attempts: self.inner.config.attempts.max(1),
        });
        let mut running: FuturesUnordered<_> = layers
            .iter()
            .zip(&parsed.rootfs.diff_ids)
            .map(|(layer, diff_id)| fetch.clone().layer(layer.clone(), *diff_id))
            .collect();
        let mut holds = Vec::new();
        while let Some(hold) = running.next().await {
            holds.push(hold?);
        }
        let image = store.add_image(raw, None)?;
        drop(holds);
        Ok(image.id)
    }

    /// What a reference means at its registry.
    pub async fn resolve(&self, reference: &Reference, auth: &Auth) -> Result<Resolved> {
        let reference = reference.clone().with_default_tag();
        let name = reference.digest().map(ToString::to_string);
        let name = name.unwrap_or_else(|| reference.tag().unwrap_or("latest").to_owned());
        for mirror in self.mirrors(reference.domain()) {
            if let Ok(session) = Session::at_mirror(self, mirror, reference.path()).await
                && let Ok(raw) = session.manifest(&name, reference.digest()).await
            {
                return Ok(Resolved::of(&raw));
            }
        }
        let session = Session::open(self, reference.domain(), reference.path(), auth, "pull").await?;
        let raw = session.manifest(&name, reference.digest()).await?;
        Ok(Resolved::of(&raw))
    }
}

impl Session {
    /// A blob that fits into memory, verified.
    async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let url = self.url(&format!("blobs/{}", descriptor.digest));
        let response = self.request(Method::GET, &url, |request| request).await?;
        if response.status() != StatusCode::OK {
            return Err(failure(response, &url).await);
        }
        let bytes = bounded(response, LARGEST_CONFIG, &url).await?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            return Err(ImageError::Mismatch {
                what: "the image's configuration".into(),
                expected: descriptor.digest,
                found,
            });
        }
        Ok(bytes)
    }
}

struct Fetch {
    store: Store,
    session: Session,
    sink: Arc<dyn Sink>,
    slots: Semaphore,
    repository: String,
    attempts: u32,
}

impl Fetch {
    async fn layer(self: Arc<Self>, layer: Descriptor, diff_id: DiffId) -> Result<LayerHold> {
        let short = layer.digest.short();
        let tell = |status| self.sink.event(Event::layer(short.clone(), status));
        if let Some(hold) = self.store.hold_layer(&diff_id) {
            tell("Already exists");
            return Ok(hold);
        }
        let _slot = match self.slots.try_acquire() {
            Ok(slot) => slot,
            Err(_) => {
                tell("Waiting");
                self.slots.acquire().await.map_err(|_| registry_error("the pull was abandoned", 500))?
            }
        };
        // A twin of it may have come meanwhile.
        if let Some(hold) = self.store.hold_layer(&diff_id) {
            tell("Already exists");
            return Ok(hold);
        }
        let (sender, reader) = pipe();
        let (store, media_type, digest) = (self.store.clone(), layer.media_type.clone(), layer.digest);
        let unpacking = tokio::task::spawn_blocking(move || {
            store.take_layer(reader, &media_type, Some(&digest), Some(&diff_id))
        });
        let downloaded = self.download(&layer, &sender).await;
        match downloaded {
            Ok(()) => {
                tell("Download complete");
                let (current, total) = (layer.size, layer.size);
                let id = Some(short.clone());
                self.sink.event(Event::Progress { id, status: "Extracting", current, total });
                sender.finish().await;
            }
            Err(_) => drop(sender),
        }
        let unpacked = unpacking.await.unwrap_or_else(|_| Err(registry_error("unpacking panicked", 500)));
        downloaded?;
        let hold = unpacked?;
        tell("Pull complete");
        let repository = self.repository.clone();
        self.store.update_layer(&diff_id, move |layer| {
            if !layer.seen_in.contains(&repository) {
                layer.seen_in.push(repository);
            }
        })?;
        Ok(hold)
    }

    /// Fetches a layer's bytes, going on where a broken connection left off.
    async fn download(&self, layer: &Descriptor, sender: &PipeSender) -> Result<()> {
        let done = AtomicU64::new(0);
        let mut attempt = 0;
        loop {
            let before = done.load(Ordering::Relaxed);
            let error = match self.download_from(layer, sender, &done).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // What made progress may try on.
            attempt = if done.load(Ordering::Relaxed) > before { 1 } else { attempt + 1 };
            let hopeless =
                matches!(&error, ImageError::Registry { status, .. } if (400..500).contains(status));
            if attempt >= self.attempts || hopeless {
                return Err(error);
            }
            tracing::info!(layer = %layer.digest, error = %error.report(), "retrying a download");
            tokio::time::sleep(Duration::from_millis(500 * u64::from(attempt))).await;
        }
    }

    async fn download_from(&self, layer: &Descriptor, sender: &PipeSender, done: &AtomicU64) -> Result<()> {
        let url = self.session.url(&format!("blobs/{}", layer.digest));
        let offset = done.load(Ordering::Relaxed);
        let range = format!("bytes={offset}-");
        let shape = |request: reqwest::RequestBuilder| {
            if offset > 0 { request.header(header::RANGE, &range) } else { request }
        };
        let mut response = self.session.request(Method::GET, &url, shape).await?;
        let mut skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => 0,
            StatusCode::OK => offset,
            _ => return Err(failure(response, &url).await),
        };
        let mut told = Instant::now() - PROGRESS_INTERVAL;
        loop {
            let chunk = response.chunk().await;
            let chunk =
                chunk.map_err(|error| registry_error(format!("Get \"{url}\": {}", cause(&error)), 500))?;
            let Some(mut chunk) = chunk else { break };
            let drop_now = skip.min(chunk.len() as u64);
            skip -= drop_now;
            let chunk = chunk.split_off(usize::try_from(drop_now).unwrap_or(0));
            let now = done.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
            if layer.size > 0 && now > layer.size {
                return Err(registry_error(
                    format!("layer {} is larger than its manifest says", layer.digest),
                    400,
                ));
            }
            if !sender.send(chunk).await {
                // The unpacker gave up; its reason is the better one.
                return Ok(());
            }
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                let id = Some(layer.digest.short());
                self.sink.event(Event::Progress {
                    id,
                    status: "Downloading",
                    current: now,
                    total: layer.size,
                });
            }
        }
        if layer.size > 0 && done.load(Ordering::Relaxed) < layer.size {
            return Err(registry_error(format!("Get \"{url}\": unexpected EOF"), 500));
        }
        Ok(())
    }
}
