//! Beginning a new cluster with the data of a saved snapshot. Who was a member of the old one, and where its log
//! ended, is left behind. Done once: a state that holds something is not touched.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use kv_core::is_data;
use kv_raft::image;
use kv_store::Store;
use sha2::{Digest as _, Sha256};

use crate::grpc::SNAPSHOT_MAGIC;

/// Why a snapshot was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("could not read the snapshot `{}`", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is no snapshot of kvd, or is damaged or cut short; save it again with `kvctl snapshot save`", .0.display())]
    Damaged(PathBuf),
    #[error("could not store the snapshot's data")]
    Store(#[source] io::Error),
}

pub(crate) fn restore(file: &Path, store: &dyn Store) -> Result<(), RestoreError> {
    let current = store.current().map_err(RestoreError::Store)?;
    let empty = current.scan(&[], &[0xff]).map_err(RestoreError::Store)?.next().is_none();
    if !empty {
        tracing::info!("there is a state already, the snapshot is not needed");
        return Ok(());
    }
    let read = |source| RestoreError::Read { path: file.into(), source };
    verify(file)?;
    let length = file.metadata().map_err(read)?.len();
    let mut input = File::open(file).map_err(read)?.take(length - 32);
    input.read_exact(&mut [0; SNAPSHOT_MAGIC.len()]).map_err(read)?;
    let mut incoming = store.begin().map_err(RestoreError::Store)?;
    let mut head = [0; 4];
    while input.limit() > 0 {
        input.read_exact(&mut head).map_err(read)?;
        if head == [0; 4] {
            break;
        }
        let mut piece = vec![0; u32::from_le_bytes(head) as usize];
        input.read_exact(&mut piece).map_err(read)?;
        let mut pairs = image::pairs(Bytes::from(piece)).map_err(read)?;
        pairs.retain(|(key, _)| is_data(key));
        incoming.add(pairs).map_err(RestoreError::Store)?;
    }
    let collected = incoming.finish().map_err(RestoreError::Store)?;
    store.replace(collected).map_err(RestoreError::Store)?;
    Ok(())
}

/// Reads the file once and compares its checksum, before anything of it is believed.
fn verify(file: &Path) -> Result<(), RestoreError> {
    let read = |source| RestoreError::Read { path: file.into(), source };
    let damaged = || RestoreError::Damaged(file.into());
    let mut input = File::open(file).map_err(read)?;
    let length = input.metadata().map_err(read)?.len();
    let body = length.checked_sub(32).ok_or_else(damaged)?;
    let mut hash = Sha256::new();
    let mut magic = [0; 8];
    input.read_exact(&mut magic).map_err(|_| damaged())?;
    if &magic != SNAPSHOT_MAGIC {
        return Err(damaged());
    }
    hash.update(magic);
    io::copy(&mut (&mut input).take(body - 8), &mut hash).map_err(read)?;
    let mut told = [0; 32];
    input.read_exact(&mut told).map_err(|_| damaged())?;
    if hash.finalize().as_slice() == told { Ok(()) } else { Err(damaged()) }
}
