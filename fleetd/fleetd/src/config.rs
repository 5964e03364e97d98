//! fleet's configuration: a file of `key = value` lines, `FLEET_KEY` variables which go before it, and
//! (ours) a flag for each key, which goes before both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the file is looked for when no `--config` names one; it need not be there.
const DEFAULT_FILE: &str = "/etc/fleet/fleet.conf";

/// Run units across machines
#[derive(clap::Parser, Clone, Debug, Default)]
#[command(name = "fleetd", version)]
pub(crate) struct Cli {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set one key of the configuration; goes before file and environment
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Endpoints of the key-value store, separated by commas
    #[arg(long, value_name = "URLS")]
    pub(crate) etcd_servers: Option<String>,
}

/// The life of a machine's lease: with four renewals in it, a machine may stand still for 3.75 s. A shorter
/// one could end before the scheduler's does; then an outage of the store would move units.
const SHORTEST_TTL: Duration = Duration::from_secs(5);

/// What the daemon is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// More than 0: debug messages.
    pub verbosity: u8,
    /// Endpoints of the store.
    pub etcd_servers: Vec<String>,
    /// A discovery URL that names the endpoints, in place of `etcd_servers`.
    pub discovery: Option<String>,
    /// Files of the TLS identity towards the store: CA, certificate, key.
    pub etcd_tls: [Option<PathBuf>; 3],
    /// Prefix of all keys.
    pub etcd_key_prefix: String,
    /// Limit of one request to the store.
    pub etcd_request_timeout: Duration,
    /// How often the scheduler looks again although nothing changed.
    pub engine_reconcile_interval: Duration,
    /// The address that the machine publishes; found by itself when empty.
    pub public_ip: String,
    /// The machine's metadata.
    pub metadata: BTreeMap<String, String>,
    /// How long a machine that says nothing counts as there.
    pub agent_ttl: Duration,
    /// Where the machine keeps account of its units.
    pub units_directory: PathBuf,
    /// Items on a page of the API.
    pub token_limit: u16,
    /// This machine never schedules.
    pub disable_engine: bool,
    /// Where the API listens: paths of unix sockets and `IP:PORT`.
    pub listen: Vec<String>,
    /// Files of the API's TLS identity, needed for `IP:PORT`: CA of the clients, certificate, key.
    pub tls: [Option<PathBuf>; 3],
    /// The authority's key, on machines that let others in.
    pub authority_key: Option<PathBuf>,
    /// How long the certificates are valid that this machine signs.
    pub member_life: Duration,
    /// Which manager runs the units: the host's own supervisor, or systemd.
    pub unit_manager: UnitManagerKind,
    /// systemd's instance of this user, instead of the system's.
    pub systemd_user: bool,
    /// The supervisor's control socket.
    pub units_socket: PathBuf,
    /// The machine's id; read from /etc/machine-id when empty.
    pub machine_id: String,
    /// What was read over, to be told once there is a log.
    pub warnings: Vec<String>,
}

/// Who runs the units of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitManagerKind {
    /// The host's own supervisor where its socket is, else systemd.
    Auto,
    /// The host's own supervisor.
    Hostos,
    /// systemd, over D-Bus.
    Systemd,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by `--config`.
    #[error("could not read the configuration {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that is no assignment.
    #[error("{origin}: `{text}` is not `key = value`")]
    Syntax {
        /// File and line, or the flag.
        origin: String,
        /// The text.
        text: String,
    },
    /// A key that fleet does not have, or a value that does not fit it.
    #[error("{origin}: {reason}")]
    Value {
        /// File and line, variable or flag.
        origin: String,
        /// What and what to do.
        reason: String,
    },
    /// No id of the machine.
    #[error("the machine has no id: /etc/machine-id cannot be read; set machine_id")]
    NoMachineId(#[source] std::io::Error),
    /// A TCP address without what TLS needs.
    #[error("listening on {0} needs tls_ca_file, tls_cert_file and tls_key_file")]
    NoTls(String),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            verbosity: 0,
            etcd_servers: vec!["http://127.0.0.1:2379".into(), "http://127.0.0.1:4001".into()],
            discovery: None,
            etcd_tls: [None, None, None],
            etcd_key_prefix: fleet_registry::DEFAULT_PREFIX.into(),
            etcd_request_timeout: Duration::from_secs(2),
            engine_reconcile_interval: Duration::from_secs(2),
            public_ip: String::new(),
            metadata: BTreeMap::new(),
            // fleet waits 30 s; a lost machine's units are to run elsewhere within 10.
            agent_ttl: SHORTEST_TTL,
            units_directory: "/run/fleet/units/".into(),
            token_limit: 100,
            disable_engine: false,
            listen: vec!["/run/fleet.sock".into()],
            tls: [None, None, None],
            authority_key: None,
            member_life: Duration::from_secs(90 * 24 * 3600),
            unit_manager: UnitManagerKind::Auto,
            systemd_user: false,
            units_socket: "/run/units.sock".into(),
            machine_id: String::new(),
            warnings: Vec::new(),
        }
    }
}

impl Config {
    /// Reads file, environment and flags, each going before the one before.
    ///
    /// # Errors
    /// The first thing that is not understood, with its place.
    pub(crate) fn load(cli: &Cli, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let path = cli.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        match std::fs::read_to_string(&path) {
            Ok(text) => config.read_file(&path, &text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && cli.config.is_none() => {}
            Err(source) => return Err(ConfigError::Read { path, source }),
        }
        for key in ALL_KEYS {
            let variable = format!("FLEET_{}", key.to_uppercase());
            if let Some(value) = env(&variable) {
                config
                    .assign(key, &value)
                    .map_err(|reason| ConfigError::Value { origin: variable, reason })?;
            }
        }
        for text in &cli.set {
            let origin = "--set".to_owned();
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| ConfigError::Syntax { origin: origin.clone(), text: text.clone() })?;
            config.assign(key, value).map_err(|reason| ConfigError::Value { origin, reason })?;
        }
        if let Some(servers) = &cli.etcd_servers {
            let origin = "--etcd-servers".to_owned();
            config.assign("etcd_servers", servers).map_err(|reason| ConfigError::Value { origin, reason })?;
        }
        config.complete()
    }

    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';', '[']) {
                continue;
            }
            let origin = format!("{}:{}", path.display(), index + 1);
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| ConfigError::Syntax { origin: origin.clone(), text: line.to_owned() })?;
            if let Err(reason) = self.assign(key.trim(), value) {
                // As fleet does: an old daemon lives with a newer one's file.
                if ALL_KEYS.contains(&key.trim()) {
                    return Err(ConfigError::Value { origin, reason });
                }
                self.warnings.push(format!("{origin}: {reason}; the line is ignored"));
            }
        }
        Ok(())
    }

    fn assign(&mut self, key: &str, value: &str) -> Result<(), String> {
        let value = unquote(value);
        let path = |value: &str| (!value.is_empty()).then(|| PathBuf::from(value));
        match key {
            "verbosity" => self.verbosity = parse(key, value)?,
            "etcd_servers" => self.etcd_servers = list(value),
            "discovery" => self.discovery = (!value.is_empty()).then(|| value.to_owned()),
            "etcd_cafile" => self.etcd_tls[0] = path(value),
            "etcd_certfile" => self.etcd_tls[1] = path(value),
            "etcd_keyfile" => self.etcd_tls[2] = path(value),
            "etcd_key_prefix" => self.etcd_key_prefix = value.to_owned(),
            "etcd_request_timeout" => self.etcd_request_timeout = duration(key, value)?,
            "engine_reconcile_interval" => self.engine_reconcile_interval = duration(key, value)?,
            "public_ip" => self.public_ip = value.to_owned(),
            "metadata" => self.metadata = metadata(value)?,
            "agent_ttl" => self.agent_ttl = duration(key, value)?.max(SHORTEST_TTL),
            "units_directory" => self.units_directory = value.into(),
            "token_limit" => self.token_limit = parse::<u16>(key, value)?.max(1),
            "disable_engine" => self.disable_engine = parse(key, value)?,
            "listen" => self.listen = list(value),
            "tls_ca_file" => self.tls[0] = path(value),
            "tls_cert_file" => self.tls[1] = path(value),
            "tls_key_file" => self.tls[2] = path(value),
            "units_socket" => self.units_socket = value.into(),
            "machine_id" => self.machine_id = value.to_owned(),
            "etcd_username" | "etcd_password" if !value.is_empty() => {
                return Err(format!(
                    "{key}: passwords are not sent to the store; use etcd_certfile and etcd_keyfile"
                ));
            }
            "enable_grpc" if parse::<bool>(key, value)? => {
                return Err(format!("{key} is not supported; remove the line"));
            }
            "systemd_user" => {
                self.systemd_user = parse(key, value)?;
                if self.systemd_user {
                    self.unit_manager = UnitManagerKind::Systemd;
                }
            }
            "unit_manager" => {
                self.unit_manager = match value {
                    "auto" => UnitManagerKind::Auto,
                    "hostos" => UnitManagerKind::Hostos,
                    "systemd" => UnitManagerKind::Systemd,
                    _ => return Err(format!("unit_manager: `{value}` is not auto, hostos or systemd")),
                };
            }
            "authority_key_file" => self.authority_key = path(value),
            "member_life" => self.member_life = duration(key, value)?.max(Duration::from_secs(10)),
            // Fleet's keys that change nothing here: agents always talk to the store, by watches.
            "etcd_username"
            | "etcd_password"
            | "enable_grpc"
            | "disable_watches"
            | "verify_units"
            | "authorized_keys_file" => {}
            _ => return Err(format!("there is no key `{key}`")),
        }
        Ok(())
    }

    fn complete(mut self) -> Result<Self, ConfigError> {
        if self.machine_id.is_empty() {
            let id = std::fs::read_to_string("/etc/machine-id").map_err(ConfigError::NoMachineId)?;
            self.machine_id = id.trim().to_owned();
        }
        if self.machine_id.is_empty() || self.machine_id.contains('/') {
            let reason = format!("machine_id `{}` is empty or has a slash", self.machine_id);
            return Err(ConfigError::Value { origin: "configuration".into(), reason });
        }
        let incomplete = self.tls.iter().any(Option::is_none);
        if let Some(address) = self.listen.iter().find(|address| !address.starts_with('/') && incomplete) {
            return Err(ConfigError::NoTls(address.clone()));
        }
        Ok(self)
    }
}

/// Every key there is; each may come from the environment as `FLEET_KEY`.
const ALL_KEYS: [&str; 31] = [
    "verbosity",
    "etcd_servers",
    "discovery",
    "etcd_cafile",
    "etcd_certfile",
    "etcd_keyfile",
    "etcd_key_prefix",
    "etcd_request_timeout",
    "etcd_username",
    "etcd_password",
    "engine_reconcile_interval",
    "public_ip",
    "metadata",
    "agent_ttl",
    "units_directory",
    "systemd_user",
    "token_limit",
    "enable_grpc",
    "disable_engine",
    "disable_watches",
    "verify_units",
    "authorized_keys_file",
    "listen",
    "tls_ca_file",
    "tls_cert_file",
    "tls_key_file",
    "authority_key_file",
    "member_life",
    "unit_manager",
    "units_socket",
    "machine_id",
];

fn unquote(value: &str) -> &str {
    let value = value.trim();
    value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value)
}

/// `["a", "b"]`, as in fleet's sample, or `a,b`.
fn list(value: &str) -> Vec<String> {
    let inner = value.trim_start_matches('[').trim_end_matches(']');
    inner.split(',').map(|item| unquote(item).to_owned()).filter(|item| !item.is_empty()).collect()
}

fn parse<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key}: `{value}` is not a {}", std::any::type_name::<T>()))
}

/// Seconds (`1.5`), or with a unit (`30s`, `500ms`, `2m`).
fn duration(key: &str, value: &str) -> Result<Duration, String> {
    let (number, unit) = match value.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => value.split_at(at),
        None => (value, "s"),
    };
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 24.0 * 3600.0,
        _ => return Err(format!("{key}: `{value}` is no duration; use for example 30s")),
    };
    let seconds = number.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let seconds = seconds.ok_or_else(|| format!("{key}: `{value}` is no duration; use for example 30s"))?;
    Ok(Duration::from_secs_f64(seconds * factor))
}

fn metadata(value: &str) -> Result<BTreeMap<String, String>, String> {
    let mut metadata = BTreeMap::new();
    for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match item.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                metadata.insert(key.trim().to_owned(), value.trim().to_owned());
            }
            _ => return Err(format!("metadata: `{item}` is not `key=value`")),
        }
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, env: &[(&str, &str)], set: &[&str]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("fleet.conf");
        std::fs::write(&path, text).expect("writes");
        let mut set: Vec<String> = set.iter().map(|it| (*it).to_owned()).collect();
        set.push("machine_id=m1".to_owned());
        let cli = Cli { config: Some(path), set, etcd_servers: None };
        let lookup =
            |key: &str| env.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        Config::load(&cli, &lookup)
    }

    #[test]
    fn a_flag_goes_before_a_variable_before_the_file() {
        let file = "# hello\nagent_ttl = \"40s\"\npublic_ip=\"10.0.0.1\"\nmetadata=\"region=eu,disk=ssd\"\n\
                    etcd_servers=[\"http://a:2379\", \"http://b:2379\"]\n";
        let config = load(file, &[("FLEET_PUBLIC_IP", "10.0.0.2")], &["agent_ttl=500ms"]).expect("loads");
        assert_eq!(config.public_ip, "10.0.0.2");
        assert_eq!(config.agent_ttl, SHORTEST_TTL, "too short a ttl is raised");
        assert_eq!(config.etcd_servers, ["http://a:2379", "http://b:2379"]);
        assert_eq!(config.metadata.get("disk").map(String::as_str), Some("ssd"));
    }

    #[test]
    fn an_unknown_key_of_the_file_is_warned_of_and_one_of_a_flag_refused() {
        let config = load("publicip=x\npublic_ip=10.0.0.1\n", &[], &[]).expect("loads");
        assert_eq!(config.public_ip, "10.0.0.1");
        let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
        assert!(
            warning.ends_with("fleet.conf:1: there is no key `publicip`; the line is ignored"),
            "{warning}"
        );
        let error = load("", &[], &["publicip=x"]).expect_err("a flag is meant").to_string();
        assert_eq!(error, "--set: there is no key `publicip`");
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_line() {
        for (file, end) in [
            ("\nnonsense\n", "fleet.conf:2: `nonsense` is not `key = value`"),
            ("agent_ttl=soon\n", "fleet.conf:1: agent_ttl: `soon` is no duration; use for example 30s"),
            ("metadata=eu\n", "fleet.conf:1: metadata: `eu` is not `key=value`"),
            ("unit_manager=runit\n", "fleet.conf:1: unit_manager: `runit` is not auto, hostos or systemd"),
            ("enable_grpc=true\n", "fleet.conf:1: enable_grpc is not supported; remove the line"),
        ] {
            let error = load(file, &[], &[]).expect_err(file).to_string();
            assert!(error.ends_with(end), "{error}");
        }
        let error = load("", &[], &["listen=0.0.0.0:49153"]).expect_err("no TLS").to_string();
        assert!(error.contains("needs tls_ca_file"), "{error}");
    }
}
