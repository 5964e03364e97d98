//! snapshot save and status. A file ends with the SHA-256 of all before, so that a broken one is noticed.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::Path,
    process::ExitCode,
};

use kv_api::etcdserverpb::{SnapshotRequest, maintenance_client::MaintenanceClient};
use sha2::{Digest as _, Sha256};

use crate::{
    Failure,
    flags::{Session, Snapshot},
    output::{Format, Output, table},
};

pub(crate) async fn save(session: &Session, command: Snapshot) -> Result<ExitCode, Failure> {
    let Snapshot::Save { file } = command else { return Ok(ExitCode::FAILURE) };
    let mut client = MaintenanceClient::new(session.client.channel()).max_decoding_message_size(64 << 20);
    let mut blobs = client.snapshot(SnapshotRequest {}).await.map_err(kv_client::Error::from)?.into_inner();
    let part = file.with_extension("part");
    let mut out = File::create(&part)?;
    while let Some(response) = blobs.message().await.map_err(kv_client::Error::from)? {
        out.write_all(&response.blob)?;
    }
    out.sync_all()?;
    check(&part)?;
    std::fs::rename(&part, &file)?;
    say!("Snapshot saved at {}", file.display());
    Ok(ExitCode::SUCCESS)
}

fn check(file: &Path) -> Result<(u64, String), Failure> {
    let mut all = Vec::new();
    File::open(file)?.read_to_end(&mut all)?;
    let body = all.len().checked_sub(32).ok_or("the snapshot is cut short")?;
    let digest = Sha256::digest(&all[..body]);
    if digest.as_slice() != &all[body..] {
        return Err(format!(
            "the snapshot `{}` is damaged or cut short: its checksum does not match",
            file.display()
        )
        .into());
    }
    let hash = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Ok((all.len() as u64, hash))
}

pub(crate) fn offline(command: &Snapshot, out: &Output) -> Result<ExitCode, Failure> {
    let Snapshot::Status { file } = command else { return Ok(ExitCode::FAILURE) };
    let (size, hash) = check(file)?;
    match out.format {
        Format::Table => table(&["HASH", "TOTAL SIZE"], &[vec![hash, format!("{size} B")]]),
        Format::Json => say!("{}", serde_json::json!({"hash": hash, "totalSize": size})),
        _ => say!("{hash}, {size} B"),
    }
    Ok(ExitCode::SUCCESS)
}
