//! Where a machine finds its config: the kernel command line, QEMU's fw_cfg, a config drive.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hostos_config::{Config, Resource};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::disks::{DiskError, find_device};
use crate::fetch::{FetchError, Fetcher};
use crate::filesystem::probe;
use crate::root::Root;

/// Where the kernel shows what QEMU passes on.
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw";
pub(crate) const URL: &str = "ignition.config.url";
const DEVICE: &str = "ignition.config.device";
const PATH: &str = "ignition.config.path";
const CONFIG_DRIVES: [&str; 2] = ["/dev/disk/by-label/config-2", "/dev/disk/by-label/CONFIG-2"];
const USER_DATA: &str = "openstack/latest/user_data";

/// A config as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its text.
    pub bytes: Vec<u8>,
    /// What to call it in front of people.
    pub name: String,
}

/// Why a place that should have a config has none to give.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// fw_cfg.
    #[error("cannot read the config that QEMU passes on")]
    Firmware(#[source] io::Error),
    /// The kernel command line is contradictory.
    #[error("the kernel command line has {has} but not {lacks}; give both or neither")]
    Half {
        /// What it has.
        has: &'static str,
        /// What it lacks.
        lacks: &'static str,
    },
    /// Two places at once.
    #[error("the kernel command line has both {URL} and {DEVICE}; give one")]
    Both,
    /// Fetching.
    #[error("cannot get the config of the kernel command line")]
    Fetch(#[source] FetchError),
    /// The device.
    #[error("cannot find the device of the config")]
    Device(#[source] DiskError),
    /// Reading from the device.
    #[error("cannot read {path} from {device}")]
    Read {
        /// What.
        path: String,
        /// From where.
        device: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The config of this machine: of the command line, else of fw_cfg, else of a config drive.
///
/// # Errors
/// The first place that should have a config and cannot give it.
pub fn find_source(command_line: &str) -> Result<Option<Source>, SourceError> {
    if let Some(found) = from_command_line(command_line)? {
        return Ok(Some(found));
    }
    match from_fw_cfg(Path::new(FW_CFG))? {
        Some(found) => Ok(Some(found)),
        None => from_config_drive(),
    }
}

/// The config that QEMU passes on (`-fw_cfg name=opt/com.coreos/config,file=…`), from the file where the
/// kernel shows it.
///
/// # Errors
/// It is there and cannot be read.
pub fn from_fw_cfg(file: &Path) -> Result<Option<Source>, SourceError> {
    match fs::read(file) {
        Ok(bytes) => Ok(some(bytes, "fw_cfg opt/com.coreos/config")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SourceError::Firmware(error)),
    }
}

/// The config that the kernel command line names by `ignition.config.url`, or by
/// `ignition.config.device` and `ignition.config.path`. Blocks while it fetches.
///
/// # Errors
/// It names one that cannot be had.
pub fn from_command_line(command_line: &str) -> Result<Option<Source>, SourceError> {
    let value = |key: &str| {
        let words = command_line.split_whitespace().map(|word| word.trim_matches('"'));
        words.filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).rfind(|value| !value.is_empty())
    };
    match (value(URL), value(DEVICE), value(PATH)) {
        (None, None, None) => Ok(None),
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(SourceError::Both),
        (Some(url), None, None) => {
            let fetch = || Fetcher::new(&Config::default())?.fetch(&Resource::url(url));
            let content = fetch().map_err(SourceError::Fetch)?;
            let bytes = content.bytes().map_err(SourceError::Firmware)?;
            Ok(Some(Source { bytes, name: url.into() }))
        }
        (None, Some(_), None) => Err(SourceError::Half { has: DEVICE, lacks: PATH }),
        (None, None, Some(_)) => Err(SourceError::Half { has: PATH, lacks: DEVICE }),
        (None, Some(device), Some(path)) => {
            let device = find_device(device).map_err(SourceError::Device)?;
            from_device(&device, path)
        }
    }
}

/// The user data of a config drive: a disk labelled `config-2`, as OpenStack attaches one.
///
/// # Errors
/// There is such a disk and it cannot be read.
pub fn from_config_drive() -> Result<Option<Source>, SourceError> {
    match CONFIG_DRIVES.into_iter().find_map(|name| find_device(name).ok()) {
        Some(device) => from_device(&device, USER_DATA),
        None => Ok(None),
    }
}

/// The config in a file on a device, which is mounted for as long as it takes to read it.
fn from_device(device: &Path, path: &str) -> Result<Option<Source>, SourceError> {
    let shown = device.display().to_string();
    let failed = |source| SourceError::Read { path: path.into(), device: shown.clone(), source };
    let format = probe(device).map_err(failed)?.format;
    let mounted = Mounted::new(device, &format).map_err(failed)?;
    let root = Root::open(mounted.at.path()).map_err(failed)?;
    let bytes = root.read(path).map_err(failed)?;
    Ok(bytes.and_then(|bytes| some(bytes, &format!("{path} on {shown}"))))
}

fn some(bytes: Vec<u8>, name: &str) -> Option<Source> {
    (!bytes.is_empty()).then(|| Source { bytes, name: name.into() })
}

/// A device mounted read-only until it is dropped.
struct Mounted {
    at: tempfile::TempDir,
}

impl Mounted {
    fn new(device: &Path, format: &str) -> io::Result<Self> {
        let at = tempfile::tempdir_in(scratch())?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(device), at.path(), Some(format), flags, None::<&str>)?;
        Ok(Self { at })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = umount2(self.at.path(), MntFlags::MNT_DETACH) {
            tracing::warn!(%error, "a config drive stays mounted");
        }
    }
}

fn scratch() -> PathBuf {
    let run = Path::new("/run");
    if run.is_dir() { run.into() } else { std::env::temp_dir() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fw_cfg_without_a_config_is_none() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("raw");
        assert_eq!(from_fw_cfg(&file).expect("nothing is fine"), None);
        fs::write(&file, "{}").expect("it is written");
        assert_eq!(from_fw_cfg(&file).expect("it reads").map(|source| source.bytes), Some(b"{}".to_vec()));
    }

    #[test]
    fn a_contradictory_command_line_is_refused() {
        for (line, message) in [
            (
                "quiet ignition.config.device=/dev/vda",
                "has ignition.config.device but not ignition.config.path",
            ),
            ("ignition.config.path=/a", "has ignition.config.path but not ignition.config.device"),
            ("ignition.config.path=/a ignition.config.url=http://a/", "give one"),
        ] {
            let error = from_command_line(line).expect_err("it is contradictory");
            assert!(error.to_string().contains(message), "{error}");
        }
        assert_eq!(from_command_line("quiet ignition.config.url=").expect("an empty value is none"), None);
    }

    #[test]
    fn a_data_url_on_the_command_line_is_a_config() {
        let found = from_command_line("a ignition.config.url=data:,%7B%7D b").expect("it is read");
        assert_eq!(found.map(|source| source.bytes), Some(b"{}".to_vec()));
    }
}
