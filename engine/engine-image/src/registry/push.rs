//! Push: what the registry has is not sent again; what it has elsewhere is mounted.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::{Method, StatusCode, header};
use tokio::io::AsyncReadExt;

use super::manifest::{CONFIG, Descriptor, Manifest, OCI_CONFIG, OCI_MANIFEST, SCHEMA2};
use super::session::{Session, failure};
use super::{Auth, Registry, registry_error};
use crate::digest::Digest;
use crate::error::{ImageError, Result};
use crate::event::{Event, Sink};
use crate::reference::Reference;
use crate::store::{BlobInfo, Image, Layer, Store};
use crate::transfer::LAYER_GZIP;

const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PIECE: usize = 256 * 1024;

impl Registry {
    /// Pushes one tag, or with a bare repository all of its tags.
    pub async fn push(
        &self,
        store: &Store,
        reference: &Reference,
        auth: &Auth,
        sink: &Arc<dyn Sink>,
    ) -> Result<()> {
        sink.event(Event::status(format!("The push refers to repository [{}]", reference.name())));
        let known: Vec<Reference> = store.references().into_iter().map(|(known, _)| known).collect();
        if !known.iter().any(|known| known.name() == reference.name()) {
            let name = reference.familiar_name();
            return Err(ImageError::NotFound(format!(
                "An image does not exist locally with the tag: {name}"
            )));
        }
        let known = known.into_iter();
        let wanted: Vec<Reference> = match reference.is_name_only() {
            true => known.filter(|known| known.name() == reference.name() && known.tag().is_some()).collect(),
            false => known.filter(|known| known == reference).collect(),
        };
        if wanted.is_empty() {
            let name = reference.familiar_name();
            return Err(ImageError::NotFound(match reference.is_name_only() {
                true => format!("An image does not exist locally with the tag: {name}"),
                false => format!("tag does not exist: {reference}"),
            }));
        }
        for reference in wanted {
            self.push_one(store, &reference, auth, sink).await?;
        }
        Ok(())
    }

    async fn push_one(
        &self,
        store: &Store,
        reference: &Reference,
        auth: &Auth,
        sink: &Arc<dyn Sink>,
    ) -> Result<()> {
        let image = store.resolve(reference).and_then(|id| store.image(&id));
        let image = image.ok_or_else(|| ImageError::NoSuchImage(reference.to_string()))?;
        let layers = self.layers_of(store, &image)?;
        for layer in layers.iter().rev() {
            sink.event(Event::layer(layer.diff_id.short(), "Preparing"));
        }
        let mut session =
            Session::open(self, reference.domain(), reference.path(), auth, "pull,push").await?;
        session.also = mount_sources(&layers, reference);
        let push = Push { store: store.clone(), session, sink: sink.clone(), repository: reference.clone() };
        let sent = stream::iter(layers.iter().rev().map(|layer| push.layer(layer)));
        let mut sent: Vec<(Digest, Descriptor)> =
            sent.buffered(self.inner.config.uploads.max(1)).try_collect().await?;
        sent.reverse();
        let descriptors: Vec<Descriptor> = sent.into_iter().map(|(_, descriptor)| descriptor).collect();
        let config = Descriptor {
            media_type: CONFIG.into(),
            size: image.raw.len() as u64,
            digest: image.id,
            urls: Vec::new(),
        };
        push.bytes(&image.raw, &config).await?;
        let (media_type, bytes) = manifest_of(config, descriptors)?;
        let digest = Digest::of(&bytes);
        let size = bytes.len();
        let tag = reference.tag().unwrap_or("latest");
        push.manifest(tag, media_type, bytes).await?;
        store.tag(&image.id, &reference.with_digest(digest))?;
        sink.event(Event::status(format!("{tag}: digest: {digest} size: {size}")));
        let value = serde_json::json!({"Tag": tag, "Digest": digest, "Size": size});
        sink.event(Event::Aux { push: true, value });
        Ok(())
    }

    fn layers_of(&self, store: &Store, image: &Image) -> Result<Vec<Arc<Layer>>> {
        let diff_ids = image.config.rootfs.diff_ids.iter();
        let missing = |id: &Digest| ImageError::NotFound(format!("layer {id} is missing"));
        diff_ids.map(|id| store.layer(id).ok_or_else(|| missing(id))).collect()
    }
}

/// Other repositories of the same registry that hold some of the layers.
fn mount_sources(layers: &[Arc<Layer>], reference: &Reference) -> Vec<String> {
    let prefix = format!("{}/", reference.domain());
    let seen = layers.iter().flat_map(|layer| &layer.seen_in);
    let mut sources: Vec<String> = seen
        .filter_map(|name| name.strip_prefix(&prefix))
        .filter(|path| *path != reference.path())
        .map(str::to_owned)
        .collect();
    sources.sort();
    sources.dedup();
    sources.truncate(4);
    sources
}

struct Push {
    store: Store,
    session: Session,
    sink: Arc<dyn Sink>,
    repository: Reference,
}

enum Sent {
    Pushed,
    Exists,
    Mounted(String),
}

impl Push {
    async fn layer(&self, layer: &Arc<Layer>) -> Result<(Digest, Descriptor)> {
        let short = layer.diff_id.short();
        let known = layer.blob.clone().or_else(|| layer.pushed.clone());
        let (blob, sent) = match known {
            Some(blob) => {
                let sent = self.known_blob(layer, &blob).await?;
                (blob, sent)
            }
            None => {
                let (file, blob) = self.compress(layer).await?;
                let sent = self.offer(layer, &blob, async || Ok(file.path().to_owned())).await?;
                (blob, sent)
            }
        };
        let event = match &sent {
            Sent::Pushed => Event::layer(short, "Pushed"),
            Sent::Exists => Event::layer(short, "Layer already exists"),
            Sent::Mounted(from) => Event::status_of(short, format!("Mounted from {from}")),
        };
        self.sink.event(event);
        let (name, kept) = (self.repository.name(), blob.clone());
        self.store.update_layer(&layer.diff_id, move |layer| {
            if layer.blob.is_none() {
                layer.pushed = Some(kept);
            }
            if !layer.seen_in.contains(&name) {
                layer.seen_in.push(name);
            }
        })?;
        let descriptor = Descriptor {
            media_type: blob.media_type,
            size: blob.size,
            digest: blob.digest,
            urls: Vec::new(),
        };
        Ok((layer.diff_id, descriptor))
    }

    /// A blob of which the digest is known; the bytes may have to be made again.
    async fn known_blob(&self, layer: &Arc<Layer>, blob: &BlobInfo) -> Result<Sent> {
        let compressed = tokio::sync::Mutex::new(None);
        let place = async || {
            if layer.blob.is_some() {
                return Ok(self.store.blob_path(&blob.digest));
            }
            let (file, again) = self.compress(layer).await?;
            if again.digest != blob.digest {
                let what = "the layer, compressed again,".to_owned();
                return Err(ImageError::Mismatch { what, expected: blob.digest, found: again.digest });
            }
            let path = file.path().to_owned();
            *compressed.lock().await = Some(file);
            Ok(path)
        };
        self.offer(layer, blob, place).await
    }

    async fn offer(
        &self,
        layer: &Layer,
        blob: &BlobInfo,
        place: impl AsyncFnOnce() -> Result<std::path::PathBuf>,
    ) -> Result<Sent> {
        if self.has(&blob.digest).await? {
            return Ok(Sent::Exists);
        }
        let prefix = format!("{}/", self.repository.domain());
        let seen = layer.seen_in.iter().filter_map(|name| name.strip_prefix(&prefix));
        let source = seen
            .filter(|path| *path != self.repository.path())
            .find(|path| self.session.also.iter().any(|a| a == path));
        let location = match self.begin_upload(&blob.digest, source).await? {
            None => return Ok(Sent::Mounted(source.unwrap_or_default().to_owned())),
            Some(location) => location,
        };
        let path = place().await?;
        self.upload_file(&location, &path, blob, layer.diff_id.short()).await?;
        Ok(Sent::Pushed)
    }

    async fn has(&self, digest: &Digest) -> Result<bool> {
        let url = self.session.url(&format!("blobs/{digest}"));
        let response = self.session.request(Method::HEAD, &url, |request| request).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(registry_error("denied: requested access to the resource is denied", 403))
            }
            _ => Err(failure(response, &url).await),
        }
    }

    /// Where to upload to; none when the registry mounted the blob instead.
    async fn begin_upload(&self, digest: &Digest, mount_from: Option<&str>) -> Result<Option<String>> {
        let url = match mount_from {
            Some(from) => self.session.url(&format!("blobs/uploads/?mount={digest}&from={from}")),
            None => self.session.url("blobs/uploads/"),
        };
        let response = self
            .session
            .request(Method::POST, &url, |request| request.header(header::CONTENT_LENGTH, 0))
            .await?;
        match response.status() {
            StatusCode::CREATED => Ok(None),
            StatusCode::ACCEPTED => {
                let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                let location =
                    location.ok_or_else(|| registry_error("the registry gave no upload location", 500))?;
                Ok(Some(self.session.absolute(location)))
            }
            _ => Err(failure(response, &url).await),
        }
    }

    async fn upload_file(
        &self,
        location: &str,
        path: &std::path::Path,
        blob: &BlobInfo,
        short: String,
    ) -> Result<()> {
        let file = tokio::fs::File::open(path).await.map_err(ImageError::file("open", path))?;
        let (sink, total) = (self.sink.clone(), blob.size);
        let pieces = stream::try_unfold((file, 0u64), move |(mut file, sent)| {
            let (sink, short) = (sink.clone(), short.clone());
            async move {
                let mut piece = vec![0; PIECE];
                let read = file.read(&mut piece).await?;
                if read == 0 {
                    return Ok::<_, std::io::Error>(None);
                }
                piece.truncate(read);
                let sent = sent + read as u64;
                sink.event(Event::Progress { id: Some(short), status: "Pushing", current: sent, total });
                Ok(Some((Bytes::from(piece), (file, sent))))
            }
        });
        self.put(location, &blob.digest, blob.size, reqwest::Body::wrap_stream(pieces)).await
    }

    /// Sends a blob that is in memory, unless it is there.
    async fn bytes(&self, bytes: &[u8], descriptor: &Descriptor) -> Result<()> {
        if self.has(&descriptor.digest).await? {
            return Ok(());
        }
        match self.begin_upload(&descriptor.digest, None).await? {
            Some(location) => {
                self.put(&location, &descriptor.digest, descriptor.size, bytes.to_vec().into()).await
            }
            None => Ok(()),
        }
    }

    async fn put(&self, location: &str, digest: &Digest, size: u64, body: reqwest::Body) -> Result<()> {
        let url = format!("{location}{}digest={digest}", if location.contains('?') { '&' } else { '?' });
        let put = |client: &reqwest::Client| {
            let request = client.put(&url).header(header::CONTENT_LENGTH, size);
            request.header(header::CONTENT_TYPE, "application/octet-stream").body(body)
        };
        let response = self.session.request_once(put, &url).await?;
        if response.status() == StatusCode::CREATED || response.status() == StatusCode::NO_CONTENT {
            return Ok(());
        }
        Err(failure(response, &url).await)
    }

    async fn manifest(&self, tag: &str, media_type: &str, bytes: Vec<u8>) -> Result<()> {
        let url = self.session.url(&format!("manifests/{tag}"));
        let shape = |request: reqwest::RequestBuilder| {
            request.header(header::CONTENT_TYPE, media_type).body(bytes.clone())
        };
        let response = self.session.request(Method::PUT, &url, shape).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(failure(response, &url).await)
    }

    /// Makes the gzip form of a layer, always the same for the same layer.
    async fn compress(&self, layer: &Arc<Layer>) -> Result<(tempfile::NamedTempFile, BlobInfo)> {
        let (store, layer) = (self.store.clone(), layer.clone());
        let work = tokio::task::spawn_blocking(move || compress(&store, &layer));
        work.await.unwrap_or_else(|_| Err(registry_error("compressing panicked", 500)))
    }
}

fn compress(store: &Store, layer: &Layer) -> Result<(tempfile::NamedTempFile, BlobInfo)> {
    let failed = || ImageError::stream("could not compress a layer");
    let file = tempfile::NamedTempFile::new_in(store.temporary_folder()).map_err(failed())?;
    let hashing =
        crate::digest::Hashing::new(BufWriter::with_capacity(PIECE, file.reopen().map_err(failed())?));
    let mut gzip = flate2::GzBuilder::new().mtime(0).write(hashing, flate2::Compression::new(5));
    store.write_layer_tar(layer, &mut gzip)?;
    let (mut writer, digest, size) = gzip.finish().map_err(failed())?.finish();
    writer.flush().map_err(failed())?;
    Ok((file, BlobInfo { digest, size, media_type: LAYER_GZIP.into() }))
}

/// The manifest's bytes: Docker's form, or OCI's as soon as one layer needs it.
fn manifest_of(mut config: Descriptor, mut layers: Vec<Descriptor>) -> Result<(&'static str, Vec<u8>)> {
    let is_oci = layers.iter().any(|layer| layer.media_type.starts_with("application/vnd.oci."));
    for layer in &mut layers {
        if layer.media_type.ends_with("zstd") {
            layer.media_type = OCI_LAYER_ZSTD.into();
        } else {
            layer.media_type = if is_oci { OCI_LAYER_GZIP } else { LAYER_GZIP }.into();
        }
    }
    let media_type = if is_oci { OCI_MANIFEST } else { SCHEMA2 };
    if is_oci {
        config.media_type = OCI_CONFIG.into();
    }
    let manifest = Manifest { schema_version: 2, media_type: media_type.into(), config, layers };
    let mut bytes = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indented);
    serde::Serialize::serialize(&manifest, &mut serializer)
        .map_err(|error| registry_error(format!("could not write a manifest: {error}"), 500))?;
    Ok((media_type, bytes))
}
