//! Finds the machine's Ignition config and has it applied.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hostos_api::FW_CFG_CONFIG;
use hostos_config::Config;

use crate::system::kernel_parameter;

/// Why the config is not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the config from the firmware")]
    Firmware(#[source] io::Error),
    #[error("{0}")]
    Rejected(String),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the config at {0} cannot be fetched: this version reads configs from the firmware only")]
    Remote(String),
    #[error("{path}: only data: URLs are understood yet, not `{scheme}:`")]
    Scheme { path: String, scheme: String },
}

/// The config, and where it came from; nothing if the machine was given none.
pub(crate) fn find() -> Result<Option<(Vec<u8>, String)>, ConfigError> {
    let path = Path::new("/sys/firmware/qemu_fw_cfg/by_name").join(FW_CFG_CONFIG).join("raw");
    match fs::read(&path) {
        Ok(bytes) => Ok(Some((bytes, "fw_cfg".to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match kernel_parameter("ignition.config.url") {
                Some(url) => Err(ConfigError::Remote(url)),
                None => Ok(None),
            }
        }
        Err(error) => Err(ConfigError::Firmware(error)),
    }
}

/// Makes the machine what the config says.
pub(crate) fn apply(bytes: &[u8], name: &str) -> Result<(), ConfigError> {
    let (config, _) =
        hostos_config::parse(bytes, name).map_err(|rejected| ConfigError::Rejected(rejected.to_string()))?;
    write_files(&config)?;
    write_keys(&config)?;
    write_units(&config)
}

fn write_files(config: &Config) -> Result<(), ConfigError> {
    for file in &config.storage.files {
        let bytes = match file.contents.source.as_deref() {
            None | Some("") => Vec::new(),
            Some(url) => data(url).ok_or_else(|| ConfigError::Scheme {
                path: file.path.clone(),
                scheme: url.split(':').next().unwrap_or_default().to_owned(),
            })?,
        };
        let mode = file.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644);
        write(Path::new(&file.path), &bytes, mode)?;
    }
    Ok(())
}

fn write_keys(config: &Config) -> Result<(), ConfigError> {
    for user in &config.passwd.users {
        let (home, id) =
            if user.name == "root" { ("/root".to_owned(), 0) } else { (format!("/home/{}", user.name), 500) };
        let dir = Path::new(&home).join(".ssh");
        let path = dir.join("authorized_keys.d/ignition");
        let keys: String = user.ssh_authorized_keys.iter().map(|key| format!("{key}\n")).collect();
        write(&path, keys.as_bytes(), 0o600)?;
        for path in [Path::new(&home), &dir, path.parent().expect("it has one"), &path] {
            chown(path, Some(id), Some(id))
                .map_err(|source| ConfigError::Write { path: path.to_owned(), source })?;
        }
    }
    Ok(())
}

fn write_units(config: &Config) -> Result<(), ConfigError> {
    for unit in &config.systemd.units {
        if let Some(text) = &unit.contents {
            write(&Path::new("/etc/systemd/system").join(&unit.name), text.as_bytes(), 0o644)?;
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), ConfigError> {
    let fail = |source| ConfigError::Write { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(fail)?;
    }
    fs::write(path, bytes).map_err(fail)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(fail)
}

/// The bytes of a `data:` URL.
fn data(url: &str) -> Option<Vec<u8>> {
    let (head, body) = url.strip_prefix("data:")?.split_once(',')?;
    let plain = percent_decoded(body)?;
    if head.ends_with(";base64") { STANDARD.decode(plain).ok() } else { Some(plain) }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_data_url_are_read() {
        assert_eq!(data("data:,a%20b").unwrap(), b"a b");
        assert_eq!(data("data:text/plain;base64,aGk=").unwrap(), b"hi");
        assert_eq!(data("http://x/"), None);
    }
}
