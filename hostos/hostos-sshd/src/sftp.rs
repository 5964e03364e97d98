//! The sftp server: version 3 of the protocol on stdin and stdout, with the rights of the account it
//! runs as. OpenSSH's extensions for renaming over a file and for syncing are served.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File as DiskFile, FileTimes, Metadata, OpenOptions, Permissions, ReadDir};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
};
use russh_sftp::server::{Handler, StatusReply};
use tokio::io::{join, stdin, stdout};
use tokio::sync::oneshot;

/// Entries of a directory in one answer.
const BATCH: usize = 100;

/// Bytes of a file in one answer.
const LARGEST_READ: u32 = 255 * 1024;

/// Files and directories that one client may have open.
const HANDLES: usize = 256;

/// Serves the client on stdin and stdout until it leaves.
#[must_use]
pub fn run(_args: Vec<OsString>) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let (ended, end) = oneshot::channel();
        let server = Server { handles: HashMap::new(), next: 0, _ended: ended };
        russh_sftp::server::run(join(stdin(), stdout()), server).await;
        // The library serves in a task of its own, which drops the server when the client is gone.
        let _ = end.await;
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    ExitCode::SUCCESS
}

enum Open {
    File(DiskFile),
    Dir(ReadDir),
}

struct Server {
    handles: HashMap<String, Open>,
    next: u64,
    _ended: oneshot::Sender<()>,
}

impl Server {
    fn keep(&mut self, id: u32, open: Open) -> Result<Handle, StatusReply> {
        if self.handles.len() >= HANDLES {
            return Err(failure(StatusCode::Failure, "too many open files"));
        }
        self.next += 1;
        let handle = self.next.to_string();
        self.handles.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Result<&DiskFile, StatusReply> {
        match self.handles.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(failure(StatusCode::Failure, "no such open file")),
        }
    }
}

fn failure(code: StatusCode, message: &str) -> StatusReply {
    StatusReply::new(code).with_message(message)
}

fn refused(error: io::Error) -> StatusReply {
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        io::ErrorKind::Unsupported => StatusCode::OpUnsupported,
        _ => StatusCode::Failure,
    };
    failure(code, &error.to_string())
}

fn done(id: u32) -> Status {
    let language_tag = "en".to_owned();
    Status { id, status_code: StatusCode::Ok, error_message: "Ok".to_owned(), language_tag }
}

fn attributes(meta: &Metadata) -> FileAttributes {
    let seconds = |time: i64| u32::try_from(time).unwrap_or(0);
    FileAttributes {
        size: Some(meta.len()),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
        permissions: Some(meta.mode()),
        atime: Some(seconds(meta.atime())),
        mtime: Some(seconds(meta.mtime())),
        ..FileAttributes::default()
    }
}

fn moment(seconds: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::from(seconds))
}

/// Sets on an open file what `wanted` holds.
fn change_open(file: &DiskFile, wanted: &FileAttributes) -> io::Result<()> {
    if let Some(size) = wanted.size {
        file.set_len(size)?;
    }
    if wanted.uid.is_some() || wanted.gid.is_some() {
        fchown(file, wanted.uid, wanted.gid)?;
    }
    if let Some(mode) = wanted.permissions {
        file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
    }
    if let (Some(accessed), Some(modified)) = (wanted.atime, wanted.mtime) {
        file.set_times(FileTimes::new().set_accessed(moment(accessed)).set_modified(moment(modified)))?;
    }
    Ok(())
}

/// The same by path, which need not be readable.
fn change(path: &Path, wanted: &FileAttributes) -> io::Result<()> {
    if let Some(size) = wanted.size {
        OpenOptions::new().write(true).open(path)?.set_len(size)?;
    }
    if wanted.uid.is_some() || wanted.gid.is_some() {
        chown(path, wanted.uid, wanted.gid)?;
    }
    if let Some(mode) = wanted.permissions {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if let (Some(accessed), Some(modified)) = (wanted.atime, wanted.mtime) {
        let times = FileTimes::new().set_accessed(moment(accessed)).set_modified(moment(modified));
        DiskFile::open(path)?.set_times(times)?;
    }
    Ok(())
}

/// `path` from the root, its `.` and `..` resolved by their text alone where it does not exist.
fn real_path(path: &str) -> io::Result<PathBuf> {
    let whole = std::env::current_dir()?.join(path);
    if let Ok(real) = whole.canonicalize() {
        return Ok(real);
    }
    let mut plain = PathBuf::from("/");
    for component in whole.components() {
        match component {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    Ok(plain)
}

/// A string of the protocol inside an extension's data: length, then bytes.
fn string(data: &mut &[u8]) -> Result<String, StatusReply> {
    let bad = || failure(StatusCode::BadMessage, "malformed request");
    let (length, rest) = data.split_at_checked(4).ok_or_else(bad)?;
    let length = u32::from_be_bytes(length.try_into().map_err(|_| bad())?) as usize;
    let (text, rest) = rest.split_at_checked(length).ok_or_else(bad)?;
    *data = rest;
    String::from_utf8(text.to_vec()).map_err(|_| bad())
}

impl Handler for Server {
    type Error = StatusReply;

    fn unimplemented(&self) -> StatusReply {
        failure(StatusCode::OpUnsupported, "not supported")
    }

    async fn init(
        &mut self,
        _version: u32,
        _extensions: HashMap<String, String>,
    ) -> Result<Version, StatusReply> {
        let mut version = Version::new();
        for name in ["posix-rename@openssh.com", "fsync@openssh.com", "hardlink@openssh.com"] {
            version.extensions.insert(name.to_owned(), "1".to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        wanted: FileAttributes,
    ) -> Result<Handle, StatusReply> {
        let mut options = OpenOptions::from(flags);
        options.mode(wanted.permissions.unwrap_or(0o666) & 0o7777);
        let file = options.open(path).map_err(refused)?;
        self.keep(id, Open::File(file))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, StatusReply> {
        match self.handles.remove(&handle) {
            Some(_) => Ok(done(id)),
            None => Err(failure(StatusCode::Failure, "no such open file")),
        }
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, length: u32) -> Result<Data, StatusReply> {
        let mut data = vec![0; length.min(LARGEST_READ) as usize];
        let count = self.file(&handle)?.read_at(&mut data, offset).map_err(refused)?;
        if count == 0 && length > 0 {
            return Err(failure(StatusCode::Eof, "end of file"));
        }
        data.truncate(count);
        Ok(Data { id, data })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, StatusReply> {
        self.file(&handle)?.write_all_at(&data, offset).map_err(refused)?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, StatusReply> {
        let meta = fs::symlink_metadata(path).map_err(refused)?;
        Ok(Attrs { id, attrs: attributes(&meta) })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusReply> {
        let meta = fs::metadata(path).map_err(refused)?;
        Ok(Attrs { id, attrs: attributes(&meta) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, StatusReply> {
        let meta = self.file(&handle)?.metadata().map_err(refused)?;
        Ok(Attrs { id, attrs: attributes(&meta) })
    }

    async fn setstat(
        &mut self,
        id: u32,
        path: String,
        wanted: FileAttributes,
    ) -> Result<Status, StatusReply> {
        change(Path::new(&path), &wanted).map_err(refused)?;
        Ok(done(id))
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        wanted: FileAttributes,
    ) -> Result<Status, StatusReply> {
        change_open(self.file(&handle)?, &wanted).map_err(refused)?;
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, StatusReply> {
        let entries = fs::read_dir(path).map_err(refused)?;
        self.keep(id, Open::Dir(entries))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, StatusReply> {
        let Some(Open::Dir(entries)) = self.handles.get_mut(&handle) else {
            return Err(failure(StatusCode::Failure, "no such open directory"));
        };
        let mut files = Vec::new();
        for entry in entries.by_ref().take(BATCH) {
            let entry = entry.map_err(refused)?;
            // One that has just been deleted is left out.
            if let Ok(meta) = entry.metadata() {
                files.push(File::new(entry.file_name().to_string_lossy(), attributes(&meta)));
            }
        }
        if files.is_empty() {
            Err(failure(StatusCode::Eof, "end of directory"))
        } else {
            Ok(Name { id, files })
        }
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, StatusReply> {
        fs::remove_file(path).map_err(refused)?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, wanted: FileAttributes) -> Result<Status, StatusReply> {
        let mode = wanted.permissions.unwrap_or(0o777) & 0o7777;
        fs::DirBuilder::new().mode(mode).create(path).map_err(refused)?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, StatusReply> {
        fs::remove_dir(path).map_err(refused)?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, StatusReply> {
        let real = real_path(&path).map_err(refused)?;
        Ok(Name { id, files: vec![File::dummy(real.to_string_lossy())] })
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, StatusReply> {
        if fs::symlink_metadata(&to).is_ok() {
            return Err(failure(StatusCode::Failure, "the new name is taken"));
        }
        fs::rename(from, to).map_err(refused)?;
        Ok(done(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, StatusReply> {
        let target = fs::read_link(path).map_err(refused)?;
        Ok(Name { id, files: vec![File::dummy(target.to_string_lossy())] })
    }

    /// The names are those of the specification; every client sends them the other way round, as
    /// OpenSSH does.
    async fn symlink(&mut self, id: u32, target: String, link: String) -> Result<Status, StatusReply> {
        std::os::unix::fs::symlink(target, link).map_err(refused)?;
        Ok(done(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, StatusReply> {
        let mut data = data.as_slice();
        match request.as_str() {
            "posix-rename@openssh.com" => {
                fs::rename(string(&mut data)?, string(&mut data)?).map_err(refused)?;
            }
            "hardlink@openssh.com" => {
                fs::hard_link(string(&mut data)?, string(&mut data)?).map_err(refused)?;
            }
            "fsync@openssh.com" => self.file(&string(&mut data)?)?.sync_all().map_err(refused)?,
            _ => return Err(self.unimplemented()),
        }
        Ok(Packet::Status(done(id)))
    }
}
