//! Manifests and indexes: fetched, verified, and chosen from by platform.

use reqwest::{Method, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::registry_error;
use super::session::{Session, bounded, failure};
use crate::digest::Digest;
use crate::error::{ImageError, Result};
use crate::platform::Platform;
use crate::reference::Reference;

pub(super) const SCHEMA2: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(super) const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LARGEST: usize = 4 << 20;

/// A part of an image as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    #[serde(default)]
    pub size: u64,
    pub digest: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

/// An image's manifest, Docker's or OCI's. Field order is Docker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    pub config: Descriptor,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default)]
    manifests: Vec<IndexItem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexItem {
    digest: Digest,
    #[serde(default)]
    platform: Option<Platform>,
}

/// What a reference means at its registry, for `GET /distribution/NAME/json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    pub platforms: Vec<Platform>,
}

/// Bytes of a manifest, verified, with their type.
pub(super) struct Raw {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl Session {
    /// Fetches what a tag or digest names.
    pub(super) async fn manifest(&self, name: &str, expected: Option<&Digest>) -> Result<Raw> {
        let url = self.url(&format!("manifests/{name}"));
        let accept = [SCHEMA2, LIST, OCI_MANIFEST, OCI_INDEX].join(", ");
        let response =
            self.request(Method::GET, &url, |request| request.header(header::ACCEPT, &accept)).await?;
        if response.status() != StatusCode::OK {
            return Err(failure(response, &url).await);
        }
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_owned();
        let bytes = bounded(response, LARGEST, &url).await?;
        let digest = Digest::of(&bytes);
        if expected.is_some_and(|expected| *expected != digest) {
            return Err(registry_error(format!("manifest verification failed for digest {name}"), 500));
        }
        Ok(Raw { digest, media_type, bytes })
    }

    /// The manifest for a platform, through an index if there is one.
    pub(super) async fn image_manifest(&self, top: Raw, platform: Option<&Platform>) -> Result<Manifest> {
        let mut raw = top;
        for _ in 0..4 {
            if !is_index(&raw) {
                return parse(&raw);
            }
            let here = Platform::here();
            let wanted = platform.unwrap_or(&here);
            let index: Index = read(&raw)?;
            let fits =
                |item: &&IndexItem| item.platform.as_ref().is_some_and(|platform| wanted.runs(platform));
            let Some(item) = index.manifests.iter().find(fits) else {
                let message = format!("no matching manifest for {wanted} in the manifest list entries");
                return Err(registry_error(message, 404));
            };
            raw = self.manifest(&item.digest.to_string(), Some(&item.digest)).await?;
        }
        Err(registry_error("manifest lists are nested too deep", 500))
    }
}

impl Resolved {
    pub(super) fn of(raw: &Raw) -> Self {
        let index: Option<Index> = if is_index(raw) { read(raw).ok() } else { None };
        let platforms =
            index.map(|index| index.manifests.into_iter().filter_map(|item| item.platform).collect());
        let platforms = platforms.unwrap_or_default();
        Self {
            media_type: raw.media_type.clone(),
            digest: raw.digest,
            size: raw.bytes.len() as u64,
            platforms,
        }
    }
}

fn is_index(raw: &Raw) -> bool {
    raw.media_type == LIST || raw.media_type == OCI_INDEX
}

fn parse(raw: &Raw) -> Result<Manifest> {
    if raw.media_type.starts_with("application/vnd.docker.distribution.manifest.v1") {
        return Err(registry_error(
            "the image's manifest is of the old schema 1, which is not supported; push the image again with a current Docker",
            500,
        ));
    }
    let manifest: Manifest = read(raw)?;
    let config = manifest.config.media_type.as_str();
    if !config.is_empty() && config != CONFIG && config != OCI_CONFIG && config != "application/octet-stream"
    {
        return Err(registry_error(format!("Encountered remote \"{config}\"(unknown) when fetching"), 500));
    }
    Ok(manifest)
}

fn read<T: serde::de::DeserializeOwned>(raw: &Raw) -> Result<T> {
    serde_json::from_slice(&raw.bytes)
        .map_err(|error| registry_error(format!("invalid manifest {}: {error}", raw.digest), 500))
}

/// A pull's refusals in Docker's words, all of them 404.
pub(super) fn pull_failure(error: ImageError, reference: &Reference) -> ImageError {
    let ImageError::Registry { message, status } = error else { return error };
    let name = reference.familiar_name();
    let text = match message.split(':').next().unwrap_or_default() {
        "manifest unknown" => format!("manifest for {reference} not found"),
        "name unknown" => format!("repository {name} not found"),
        "denied" | "unauthorized" => {
            format!("pull access denied for {name}, repository does not exist or may require 'docker login'")
        }
        _ => return registry_error(message, status),
    };
    registry_error(format!("{text}: {message}"), 404)
}
