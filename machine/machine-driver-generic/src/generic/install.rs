//! What is done on a host: look, copy the daemons, place keys and settings, run the engine's unit.

use std::path::Path;

use machine_core::driver::{DriverError, Event, Session};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::shell::{Shell, quote};

const BIN: &str = "/opt/rmachine/bin";
const UNIT: &str = "rmachine-engine.service";
/// Only these parts of a machine's config are for a host that has a system of its own: where they
/// stand on a machine of ours, and where on the host.
const PLACES: [(&str, &str); 2] = [
    ("/etc/docker/", "/etc/docker/"),
    ("/etc/systemd/system/docker.service.d/", "/etc/systemd/system/rmachine-engine.service.d/"),
];

/// What kind of host it is.
pub(crate) struct Facts {
    pub(crate) system: String,
}

/// Looks whether our daemons can live there, and changes nothing.
pub(crate) fn inspect(shell: &Shell) -> Result<Facts, DriverError> {
    let system = shell.run("uname -sm")?;
    if system != "Linux x86_64" {
        return Err(DriverError::failed(format!("the host is {system}, our daemons need Linux x86_64")));
    }
    shell.root("true").map_err(|error| {
        DriverError::failed("the user may not become root on the host")
            .source(error)
            .hint("log in as root, or let the user `sudo` without a password")
    })?;
    shell
        .run("test -d /run/systemd/system")
        .map_err(|_| DriverError::failed("the host does not run systemd, which starts our engine there"))?;
    let other = shell.run("systemctl is-active docker.service || true")?;
    if other == "active" {
        return Err(DriverError::failed("the host runs another Docker engine already")
            .hint("stop it there (`systemctl disable --now docker`), or adopt it with the driver none"));
    }
    let name = shell.run("sed -n 's/^PRETTY_NAME=//p' /etc/os-release | tr -d '\"'").unwrap_or_default();
    Ok(Facts { system: if name.is_empty() { system } else { name } })
}

/// Copies what is missing or different, and (re)starts the engine. Without programs of our own at
/// hand, those that are there already are used.
pub(crate) fn install(
    shell: &Shell,
    program: Option<&Path>,
    ignition: &[u8],
    session: &Session<'_>,
) -> Result<(), DriverError> {
    match program {
        Some(program) => copy_program(shell, program, session)?,
        None => shell.root(&format!("test -x {BIN}/hostbox")).map(drop).map_err(|_| {
            DriverError::failed("there is no `hostbox` to install on the host")
                .hint("build one with `cargo xtask image`, or name one with RMACHINE_HOSTBOX")
        })?,
    }
    let link = format!(
        "cd {BIN} && for name in $(./hostbox --list | grep -E '^(engine|kv|fleet)'); do ln -sf hostbox $name; done && test -e engined"
    );
    shell.root(&link)?;
    session.cancel.check()?;
    for (path, mode, contents) in files(ignition)? {
        put(shell, &path, &mode, contents.as_bytes())?;
    }
    put(shell, &format!("/etc/systemd/system/{UNIT}"), "644", unit().as_bytes())?;
    shell.root(&format!("systemctl daemon-reload && systemctl enable {UNIT} && systemctl restart {UNIT}"))?;
    session.observer.notice(Event::Step("the engine is installed".into()));
    Ok(())
}

fn copy_program(shell: &Shell, program: &Path, session: &Session<'_>) -> Result<(), DriverError> {
    let bytes = std::fs::read(program).map_err(|error| {
        DriverError::failed(format!("could not read {}", program.display())).source(error)
    })?;
    let digest = hex::encode(Sha256::digest(&bytes));
    let there = shell.root(&format!("sha256sum {BIN}/hostbox")).unwrap_or_default();
    if there.starts_with(&digest) {
        return Ok(());
    }
    session.observer.notice(Event::Step(format!("copying {:.1} MB of programs", bytes.len() as f64 / 1e6)));
    put(shell, &format!("{BIN}/hostbox"), "755", &bytes)
}

/// Whether the engine's unit runs.
pub(crate) fn is_active(shell: &Shell) -> Result<(), DriverError> {
    shell.root(&format!("systemctl is-active {UNIT}")).map(drop).map_err(|error| {
        let log = shell.root(&format!("journalctl -n 12 --no-pager -o cat -u {UNIT}")).unwrap_or_default();
        error.evidence(log.lines().map(str::to_owned).collect())
    })
}

/// Replaces a file on the host in one step.
fn put(shell: &Shell, path: &str, mode: &str, contents: &[u8]) -> Result<(), DriverError> {
    let dir = path.rsplit_once('/').map_or("/", |(dir, _)| dir);
    let (new, path) = (quote(&format!("{path}.new")), quote(path));
    let command = format!(
        "umask 077 && mkdir -p {} && cat > {new} && chmod {mode} {new} && mv -f {new} {path}",
        quote(dir)
    );
    shell.root_with(&command, contents).map(drop)
}

/// The files of the config that are the engine's: path, mode and contents.
fn files(ignition: &[u8]) -> Result<Vec<(String, String, String)>, DriverError> {
    let broken = || DriverError::failed("the machine's own config is not usable for a host");
    let config: Value = serde_json::from_slice(ignition).map_err(|error| broken().source(error))?;
    let list = config["storage"]["files"].as_array().ok_or_else(broken)?;
    let mut files = Vec::new();
    for file in list {
        let path = file["path"].as_str().ok_or_else(broken)?;
        let place =
            PLACES.iter().find_map(|(ours, there)| Some(format!("{there}{}", path.strip_prefix(ours)?)));
        if let Some(place) = place {
            let mode = format!("{:o}", file["mode"].as_u64().unwrap_or(0o644));
            let source = file["contents"]["source"].as_str().ok_or_else(broken)?;
            files.push((place, mode, decode(source).ok_or_else(broken)?));
        }
    }
    Ok(files)
}

/// The text of a `data:,…` URL.
fn decode(url: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = url.strip_prefix("data:,")?.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn unit() -> String {
    format!(
        "[Unit]\nDescription=Engine of rmachine\nAfter=network-online.target\nWants=network-online.target\n\
         Conflicts=docker.service\n\n[Service]\n\
         Type=notify\nTimeoutStartSec=0\n\
         ExecStart={BIN}/engined --config-file /etc/docker/daemon.json\n\
         Environment=PATH={BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         Restart=always\nRestartSec=1\nDelegate=yes\nKillMode=process\nLimitNOFILE=1048576\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_engines_files_go_to_a_host() {
        let file = |path: &str| {
            json!({"path": path, "mode": 0o600,
                   "contents": {"source": machine_core::ignition::data_url("a b\n%é")}})
        };
        let config = json!({"storage": {"files": [
            file("/etc/hostname"), file("/etc/docker/key.pem"),
            file("/etc/systemd/system/docker.service.d/10-environment.conf"),
        ]}});
        let found = files(config.to_string().as_bytes()).expect("files");
        let expected =
            ["/etc/docker/key.pem", "/etc/systemd/system/rmachine-engine.service.d/10-environment.conf"];
        assert_eq!(found, expected.map(|path| (path.to_owned(), "600".to_owned(), "a b\n%é".to_owned())));
        assert!(files(b"{}").is_err() && decode("data:;base64,AA==").is_none());
    }
}
