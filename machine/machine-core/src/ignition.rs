//! What a new machine is told about itself: its Ignition config, built from keys and wishes.
//!
//! The config is plain JSON of spec 3.3.0, the only thing that machine and workstation agree on.
//! Merging a user's config into it is `hostos-config`'s work.

use machine_types::{EngineOptions, MachineName};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Spec version of the configs made here.
pub const SPEC_VERSION: &str = "3.3.0";

/// Keys and wishes that become a config.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    /// Becomes the host name.
    pub name: &'a MachineName,
    /// Becomes the machine id, which the journal and fleet know it by.
    pub id: Uuid,
    /// Name of the driver, for the engine's `provider` label.
    pub driver: &'a str,
    /// How the engine runs.
    pub engine: &'a EngineOptions,
    /// Where the engine listens in the machine.
    pub engine_port: u16,
    /// Authority whose clients the engine lets in, PEM.
    pub ca: &'a str,
    /// What it proves itself by to clients.
    pub keys: Keys<'a>,
    /// User to log in as, made if the image has no such user.
    pub ssh_user: &'a str,
    /// Key of that user, one `authorized_keys` line.
    pub ssh_authorized_key: &'a str,
}

/// What a machine's engine and ssh server prove themselves by.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// Made for it. Only for configs that nobody else can read on their way.
    Made {
        /// The engine's certificate, PEM.
        server_cert: &'a str,
        /// Its key, PEM.
        server_key: &'a str,
        /// The ssh server's key, in OpenSSH's format.
        ssh_host_key: &'a str,
    },
    /// Made on board: the ssh server's at its first start, the engine's by the unit `after`.
    OnBoard {
        /// Where the engine's certificate will be.
        cert: &'a str,
        /// Where its key will be.
        key: &'a str,
        /// Brings both.
        after: &'a str,
    },
}

/// The machine's own config.
#[must_use]
pub fn config(identity: &Identity<'_>) -> Value {
    let mut engine = daemon_json(identity.driver, identity.engine, identity.engine_port);
    if let Keys::OnBoard { cert, key, .. } = identity.keys {
        (engine["tlscert"], engine["tlskey"]) = (json!(cert), json!(key));
    }
    let mut files = vec![
        file("/etc/hostname", 0o644, &format!("{}\n", identity.name)),
        file("/etc/machine-id", 0o444, &format!("{}\n", identity.id.simple())),
        file("/etc/docker/ca.pem", 0o644, identity.ca),
        file("/etc/docker/daemon.json", 0o644, &pretty(&engine)),
    ];
    match identity.keys {
        Keys::Made { server_cert, server_key, ssh_host_key } => files.extend([
            file("/etc/docker/server.pem", 0o644, server_cert),
            file("/etc/docker/server-key.pem", 0o600, server_key),
            file("/etc/ssh/ssh_host_ed25519_key", 0o600, ssh_host_key),
        ]),
        Keys::OnBoard { after, .. } => {
            let contents = format!("[Unit]\nAfter={after}\n");
            files.push(file("/etc/systemd/system/docker.service.d/20-keys.conf", 0o644, &contents));
        }
    }
    let mut config = json!({
        "ignition": { "version": SPEC_VERSION },
        // `root` is for rmachine itself: it renews certificates by it.
        "passwd": { "users": [
            { "name": "core", "sshAuthorizedKeys": [identity.ssh_authorized_key.trim()] },
            { "name": "root", "sshAuthorizedKeys": [identity.ssh_authorized_key.trim()] },
        ]},
    });
    if !["core", "root"].contains(&identity.ssh_user)
        && let Some(users) = config["passwd"]["users"].as_array_mut()
    {
        // The groups that `core` is in.
        users.push(json!({
            "name": identity.ssh_user, "groups": ["sudo", "systemd-journal", "docker"],
            "sshAuthorizedKeys": [identity.ssh_authorized_key.trim()],
        }));
    }
    if !identity.engine.env.is_empty() {
        let contents = engine_environment(&identity.engine.env);
        files.push(file("/etc/systemd/system/docker.service.d/10-environment.conf", 0o644, &contents));
    }
    config["storage"] = json!({ "files": files });
    config
}

/// The engine's own configuration file, with what the user asked for.
#[must_use]
pub fn daemon_json(driver: &str, engine: &EngineOptions, port: u16) -> Value {
    let mut labels = engine.labels.clone();
    labels.push(format!("provider={driver}"));
    let mut config = json!({
        "hosts": ["unix:///var/run/docker.sock", format!("tcp://0.0.0.0:{port}")],
        "tlsverify": true,
        "tlscacert": "/etc/docker/ca.pem",
        "tlscert": "/etc/docker/server.pem",
        "tlskey": "/etc/docker/server-key.pem",
        "labels": labels,
    });
    if !engine.insecure_registry.is_empty() {
        config["insecure-registries"] = json!(engine.insecure_registry);
    }
    if !engine.registry_mirror.is_empty() {
        config["registry-mirrors"] = json!(engine.registry_mirror);
    }
    if !engine.storage_driver.is_empty() {
        config["storage-driver"] = json!(engine.storage_driver);
    }
    let object = config.as_object_mut().expect("it was made as an object");
    for flag in &engine.arbitrary_flags {
        add_flag(object, flag);
    }
    config
}

/// `key=value` and `--key=value` as daemon.json spells them: some flags have a plural key there.
fn add_flag(config: &mut Map<String, Value>, flag: &str) {
    let flag = flag.trim_start_matches("--");
    let (key, value) = flag.split_once('=').map_or((flag, None), |(key, value)| (key, Some(value)));
    let list = match key {
        "host" | "H" => Some("hosts"),
        "label" => Some("labels"),
        "insecure-registry" => Some("insecure-registries"),
        "registry-mirror" => Some("registry-mirrors"),
        "storage-opt" => Some("storage-opts"),
        "exec-opt" => Some("exec-opts"),
        "authorization-plugin" => Some("authorization-plugins"),
        "dns" => Some("dns"),
        "dns-opt" => Some("dns-opts"),
        "dns-search" => Some("dns-search"),
        _ => None,
    };
    if let Some(list) = list {
        let entry = config.entry(list).or_insert_with(|| json!([]));
        if let Some(array) = entry.as_array_mut() {
            array.push(json!(value.unwrap_or_default()));
        }
    } else if let ("log-opt" | "default-ulimit", Some((name, value))) =
        (key, value.and_then(|value| value.split_once('=')))
    {
        let map = if key == "log-opt" { "log-opts" } else { "default-ulimits" };
        config.entry(map).or_insert_with(|| json!({}))[name] = json!(value);
    } else {
        let value = match value {
            None | Some("true") => json!(true),
            Some("false") => json!(false),
            Some(text) => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
        };
        config.insert(key.to_owned(), value);
    }
}

fn engine_environment(env: &[String]) -> String {
    let mut unit = String::from("[Service]\n");
    for pair in env {
        let escaped = pair.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
        unit.push_str(&format!("Environment=\"{escaped}\"\n"));
    }
    unit
}

pub(crate) fn file(path: &str, mode: u32, contents: &str) -> Value {
    json!({
        "path": path,
        "mode": mode,
        "overwrite": true,
        "contents": { "source": data_url(contents) },
    })
}

/// A `data:` URL of a text (RFC 2397), escaped as RFC 3986 wants it.
#[must_use]
pub fn data_url(contents: &str) -> String {
    let mut url = String::from("data:,");
    for byte in contents.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/+=:@!$()*;".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a JSON value prints");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_flags_reach_the_engine_under_their_names_in_daemon_json() {
        let engine = EngineOptions {
            arbitrary_flags: vec![
                "dns=8.8.8.8".into(),
                "log-opt=max-size=10m".into(),
                "log-driver=json-file".into(),
                "debug".into(),
                "mtu=1400".into(),
                "storage-opt=a=b".into(),
            ],
            labels: vec!["zone=a".into()],
            insecure_registry: vec!["10.0.0.1:5000".into()],
            ..EngineOptions::default()
        };
        let config = daemon_json("qemu", &engine, 2376);
        assert_eq!(config["dns"], json!(["8.8.8.8"]));
        assert_eq!(config["log-opts"], json!({"max-size": "10m"}));
        assert_eq!(config["log-driver"], "json-file");
        assert_eq!(config["debug"], true);
        assert_eq!(config["mtu"], 1400);
        assert_eq!(config["storage-opts"], json!(["a=b"]));
        assert_eq!(config["labels"], json!(["zone=a", "provider=qemu"]));
        assert_eq!(config["insecure-registries"], json!(["10.0.0.1:5000"]));
        assert_eq!(config["tlsverify"], true);
    }

    #[test]
    fn secrets_of_a_machine_are_readable_by_root_only() {
        let name = "w1".parse().expect("a name");
        let engine = EngineOptions { env: vec!["A=b \"c\" 5%".into()], ..EngineOptions::default() };
        let config = config(&Identity {
            name: &name,
            id: Uuid::from_u128(1),
            driver: "qemu",
            engine: &engine,
            engine_port: 2376,
            ca: "CA",
            keys: Keys::Made { server_cert: "CERT", server_key: "KEY", ssh_host_key: "HOST" },
            ssh_user: "ada",
            ssh_authorized_key: "ssh-ed25519 AAAA\n",
        });
        let files = config["storage"]["files"].as_array().expect("files");
        for file in files {
            let secret = ["/etc/docker/server-key.pem", "/etc/ssh/ssh_host_ed25519_key"]
                .contains(&file["path"].as_str().expect("a path"));
            assert_eq!(file["mode"] == 0o600, secret, "{file}");
        }
        assert_eq!(config["passwd"]["users"][0]["sshAuthorizedKeys"][0], "ssh-ed25519 AAAA");
        let environment = files.last().expect("the last")["contents"]["source"].as_str().expect("a source");
        assert!(environment.contains("A=b%20%5C%22c%5C%22%205%25%25"), "{environment}");
    }

    #[test]
    fn data_urls_escape_what_urls_cannot_hold() {
        assert_eq!(data_url("a b\n%é"), "data:,a%20b%0A%25%C3%A9");
    }
}
