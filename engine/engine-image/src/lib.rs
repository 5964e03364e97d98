//! Images of the container engine: a content-addressed store, layers and writable layers, archives in and out,
//! and the registry client.
//!
//! The store ([`Store`]) blocks on the disk and is called from blocking threads; the registry client is async.
//! Long operations report [`Event`]s, which serialise to Docker's progress stream. Nothing here starts a
//! container or mounts anything that another process could see.

pub mod archive;
pub mod config;
pub mod digest;
pub mod dirfd;
mod error;
pub mod event;
mod files;
pub mod overlay;
pub mod pipe;
mod platform;
pub mod reference;
pub mod registry;
mod store;
mod transfer;

pub use config::{Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use digest::{DiffId, Digest, ImageId};
pub use error::{ImageError, Result};
pub use event::{Event, Sink};
pub use platform::Platform;
pub use reference::{Reference, ReferenceError};
pub use store::{
    BlobInfo, Change, ChangeKind, HistoryLine, Image, Layer, LayerHold, Removed, Store, Usage, UsedBy,
    Writable, chain_ids,
};
pub use transfer::{ImportOptions, SaveItem};

/// What new images say they were made with: the Docker whose behaviour we have.
pub const DOCKER_VERSION: &str = "20.10.24";
