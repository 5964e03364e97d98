//! Copying files over SFTP, alone or whole folders, with their permission bits.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use russh_sftp::client::SftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::io::{AsyncWriteExt, copy};
use tokio::time::timeout;

use crate::{Session, SshError};

const OPEN_LIMIT: Duration = Duration::from_secs(20);
/// Deeper folders than this are taken for a loop.
const DEPTH: usize = 64;

/// The files of a machine.
pub struct Files(SftpSession);

/// Why a copy ended early.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The session broke.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The machine has no file transfer, or it broke.
    #[error("the machine did not start its file transfer")]
    Start(#[source] SftpError),
    /// It did not start in time.
    #[error("the machine did not start its file transfer within {} s", OPEN_LIMIT.as_secs())]
    Late,
    /// A file on the machine.
    #[error("`{path}` on the machine")]
    Remote {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: SftpError,
    },
    /// A file here.
    #[error("`{path}`")]
    Local {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A folder without leave to copy folders.
    #[error("`{0}` is a folder: use -r to copy it")]
    Folder(String),
    /// A name that would leave the folder it is copied into, or a loop.
    #[error("`{0}` cannot be copied: its name or depth is not sane")]
    Insane(String),
}

impl Session {
    /// Opens the file transfer.
    pub async fn files(&self) -> Result<Files, CopyError> {
        let channel = self.handle.channel_open_session().await.map_err(SshError::from)?;
        channel.request_subsystem(true, "sftp").await.map_err(SshError::from)?;
        let session = timeout(OPEN_LIMIT, SftpSession::new(channel.into_stream()));
        Ok(Files(session.await.map_err(|_| CopyError::Late)?.map_err(CopyError::Start)?))
    }
}

impl Files {
    /// Replaces a file: written beside it, then renamed.
    pub async fn write(&self, path: &str, contents: &[u8], mode: u32) -> Result<(), CopyError> {
        let remote = |source| CopyError::Remote { path: path.to_owned(), source };
        let beside = format!("{path}.new");
        let attributes = FileAttributes { permissions: Some(mode), ..FileAttributes::empty() };
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let mut file =
            self.0.open_with_flags_and_attributes(&beside, flags, attributes).await.map_err(remote)?;
        let io = |error: std::io::Error| remote(SftpError::IO(error.to_string()));
        file.write_all(contents).await.map_err(io)?;
        file.shutdown().await.map_err(io)?;
        // Not every server replaces by a rename; then the old one goes first.
        if self.0.rename(&beside, path).await.is_err() {
            self.0.remove_file(path).await.map_err(remote)?;
            self.0.rename(&beside, path).await.map_err(remote)?;
        }
        Ok(())
    }

    /// Copies a file or folder to the machine. Into `remote` if that is a folder there.
    pub async fn upload(&self, local: &Path, remote: &str, recursive: bool) -> Result<(), CopyError> {
        let name = local.file_name().unwrap_or_default().to_string_lossy();
        let target = self.inside(remote, &name).await;
        self.upload_to(local, &target, recursive, 0).await
    }

    /// Copies a file or folder from the machine. Into `local` if that is a folder.
    pub async fn download(&self, remote: &str, local: &Path, recursive: bool) -> Result<(), CopyError> {
        let name = remote.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let target = if local.is_dir() { local.join(sane(name)?) } else { local.to_owned() };
        self.download_to(or_home(remote), &target, recursive, 0).await
    }

    async fn inside(&self, remote: &str, name: &str) -> String {
        let path = or_home(remote);
        let is_dir = self.0.metadata(path).await.is_ok_and(|attributes| attributes.is_dir());
        if is_dir { format!("{}/{name}", path.trim_end_matches('/')) } else { path.to_owned() }
    }

    async fn upload_to(
        &self,
        local: &Path,
        remote: &str,
        recursive: bool,
        depth: usize,
    ) -> Result<(), CopyError> {
        let local_error = |source| CopyError::Local { path: local.display().to_string(), source };
        let metadata = fs::metadata(local).map_err(local_error)?;
        let mode = metadata.permissions().mode() & 0o777;
        if !metadata.is_dir() {
            return self.upload_file(local, remote, mode).await;
        }
        if !recursive {
            return Err(CopyError::Folder(local.display().to_string()));
        }
        if depth >= DEPTH {
            return Err(CopyError::Insane(local.display().to_string()));
        }
        let exists = self.0.metadata(remote).await.is_ok_and(|attributes| attributes.is_dir());
        if !exists {
            self.0
                .create_dir(remote)
                .await
                .map_err(|source| CopyError::Remote { path: remote.to_owned(), source })?;
        }
        for entry in fs::read_dir(local).map_err(local_error)? {
            let entry = entry.map_err(local_error)?;
            let target = format!("{remote}/{}", entry.file_name().to_string_lossy());
            Box::pin(self.upload_to(&entry.path(), &target, recursive, depth + 1)).await?;
        }
        Ok(())
    }

    async fn upload_file(&self, local: &Path, remote: &str, mode: u32) -> Result<(), CopyError> {
        let local_error = |source| CopyError::Local { path: local.display().to_string(), source };
        let remote_error = |source| CopyError::Remote { path: remote.to_owned(), source };
        let mut from = tokio::fs::File::open(local).await.map_err(local_error)?;
        let attributes = FileAttributes { permissions: Some(mode), ..FileAttributes::empty() };
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let mut to = self
            .0
            .open_with_flags_and_attributes(remote, flags, attributes.clone())
            .await
            .map_err(remote_error)?;
        let io = |error: std::io::Error| remote_error(SftpError::IO(error.to_string()));
        copy(&mut from, &mut to).await.map_err(io)?;
        to.shutdown().await.map_err(io)?;
        // A file that was there kept its old mode.
        self.0.set_metadata(remote, attributes).await.map_err(remote_error)
    }

    async fn download_to(
        &self,
        remote: &str,
        local: &Path,
        recursive: bool,
        depth: usize,
    ) -> Result<(), CopyError> {
        let remote_error = |source| CopyError::Remote { path: remote.to_owned(), source };
        let attributes = self.0.metadata(remote).await.map_err(remote_error)?;
        if !attributes.is_dir() {
            return self.download_file(remote, local, attributes.permissions.unwrap_or(0o644)).await;
        }
        if !recursive {
            return Err(CopyError::Folder(remote.to_owned()));
        }
        if depth >= DEPTH {
            return Err(CopyError::Insane(remote.to_owned()));
        }
        fs::create_dir_all(local)
            .map_err(|source| CopyError::Local { path: local.display().to_string(), source })?;
        for entry in self.0.read_dir(remote).await.map_err(remote_error)? {
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let from = format!("{}/{name}", remote.trim_end_matches('/'));
            let to = local.join(sane(&name)?);
            Box::pin(self.download_to(&from, &to, recursive, depth + 1)).await?;
        }
        Ok(())
    }

    async fn download_file(&self, remote: &str, local: &Path, mode: u32) -> Result<(), CopyError> {
        let local_error = |source| CopyError::Local { path: local.display().to_string(), source };
        let mut from = self
            .0
            .open(remote)
            .await
            .map_err(|source| CopyError::Remote { path: remote.to_owned(), source })?;
        let mut to = tokio::fs::File::create(local).await.map_err(local_error)?;
        copy(&mut from, &mut to).await.map_err(local_error)?;
        to.flush().await.map_err(local_error)?;
        fs::set_permissions(local, Permissions::from_mode(mode & 0o777)).map_err(local_error)
    }
}

/// An empty path means the home folder.
fn or_home(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

/// A file name from a machine is no path: it cannot lead elsewhere.
fn sane(name: &str) -> Result<&str, CopyError> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(CopyError::Insane(name.to_owned()));
    }
    Ok(name)
}
