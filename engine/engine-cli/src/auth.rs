//! Passwords of registries, in the file where Docker's client keeps them: `$DOCKER_CONFIG/config.json`, or
//! `~/.docker/config.json`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::http::Failure;

const HUB: &str = "https://index.docker.io/v1/";

fn path() -> PathBuf {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker");
    folder.unwrap_or_else(home).join("config.json")
}

fn load() -> Result<Value, Failure> {
    let path = path();
    let broken = |why: String| Failure::Usage(format!("{}: {why}", path.display()));
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(json!({})),
        Err(error) => Err(broken(crate::http::reason(&error))),
    }
}

/// Only its owner may read it.
fn store(config: &Value) -> Result<(), Failure> {
    let path = path();
    let written = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder)?;
        let beside = folder.join(".config.json.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(format!("{config:#}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    written().map_err(|error| Failure::Usage(format!("could not write {}: {error}", path.display())))
}

/// The registry an image's name leads to, as the file names it.
fn server_of(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host.to_owned(),
        _ => HUB.to_owned(),
    }
}

/// As `docker login` is given it.
pub(crate) fn server(given: &str) -> String {
    match given {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.into(),
        _ => {
            let host = given.trim_start_matches("https://").trim_start_matches("http://");
            host.split('/').next().unwrap_or_default().to_owned()
        }
    }
}

/// The header line with which an image is pulled or pushed; nothing if there is no password for it.
pub(crate) fn header(image: &str) -> Result<String, Failure> {
    let server = server_of(image);
    let config = load()?;
    let known = config["auths"].as_object().into_iter().flatten();
    let bare = |name: &str| name.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let Some((_, entry)) = known.into_iter().find(|(name, _)| bare(name) == bare(&server)) else {
        return Ok(String::new());
    };
    let login = entry["auth"].as_str().and_then(|auth| STANDARD.decode(auth).ok());
    let login = login.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let (user, password) = login.split_once(':').unwrap_or((&login, ""));
    let mut auth = json!({ "username": user, "password": password, "serveraddress": server });
    if let Some(token) = entry["identitytoken"].as_str() {
        auth["identitytoken"] = token.into();
    }
    Ok(format!("X-Registry-Auth: {}\r\n", URL_SAFE.encode(auth.to_string())))
}

/// Keeps a password; a token, if the registry gave one, takes its place.
pub(crate) fn keep(server: &str, user: &str, password: &str, token: &str) -> Result<PathBuf, Failure> {
    let mut config = load()?;
    config["auths"][server] = match token {
        "" => json!({ "auth": STANDARD.encode(format!("{user}:{password}")) }),
        _ => json!({ "auth": STANDARD.encode(format!("{user}:")), "identitytoken": token }),
    };
    store(&config)?;
    Ok(path())
}

/// Forgets a password; false if there was none.
pub(crate) fn forget(server: &str) -> Result<bool, Failure> {
    let mut config = load()?;
    let removed = config["auths"].as_object_mut().and_then(|auths| auths.remove(server));
    if removed.is_some() {
        store(&config)?;
    }
    Ok(removed.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_registries() {
        for (image, server) in
            [("busybox", HUB), ("me/app", HUB), ("h.example/app", "h.example"), ("localhost/a", "localhost")]
        {
            assert_eq!(server_of(image), server);
        }
        assert_eq!(super::server("https://h.example/v2/"), "h.example");
        assert_eq!(super::server("docker.io"), HUB);
    }
}
