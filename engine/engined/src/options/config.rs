//! The settings with their types and defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::Settings;

/// Where the API is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Unix(PathBuf),
    Tcp(String),
}

/// Certificates for tcp sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Clients must show a certificate of this CA.
    pub(crate) client_ca: Option<PathBuf>,
}

/// Where subnets of new networks come from: `base` cut into pieces of prefix length `size`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressPool {
    pub(crate) base: String,
    pub(crate) size: u8,
}

/// A limit on a process; -1 is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ulimit {
    pub(crate) name: String,
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

/// Everything the engine was told, with defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) hosts: Vec<Host>,
    pub(crate) data_root: PathBuf,
    pub(crate) exec_root: PathBuf,
    pub(crate) pidfile: PathBuf,
    pub(crate) group: Option<String>,
    pub(crate) debug: bool,
    pub(crate) log_level: String,
    pub(crate) labels: Vec<String>,
    /// `None`: tcp sockets speak plainly, which was asked for in so many words.
    pub(crate) tls: Option<Tls>,
    pub(crate) bridge: Option<String>,
    pub(crate) bip: Option<String>,
    pub(crate) fixed_cidr: Option<String>,
    pub(crate) icc: bool,
    pub(crate) ip: IpAddr,
    pub(crate) ip_forward: bool,
    pub(crate) ip_masq: bool,
    pub(crate) firewall: bool,
    pub(crate) mtu: u32,
    pub(crate) dns: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) host_gateway: Option<IpAddr>,
    pub(crate) address_pools: Vec<AddressPool>,
    pub(crate) registry_mirrors: Vec<String>,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) downloads: usize,
    pub(crate) uploads: usize,
    pub(crate) log_driver: String,
    pub(crate) log_opts: BTreeMap<String, String>,
    pub(crate) shm_size: u64,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) no_new_privileges: bool,
    pub(crate) init: bool,
    pub(crate) cgroup_parent: Option<String>,
    pub(crate) ipc_mode: String,
    pub(crate) cgroupns_mode: Option<String>,
    pub(crate) oom_score_adjust: Option<i64>,
    /// Where figures for Prometheus are served, besides the API.
    pub(crate) metrics: Option<std::net::SocketAddr>,
    /// What was accepted without effect, for the log.
    pub(crate) notes: Vec<String>,
}

impl Config {
    pub(super) fn from_settings(settings: &Settings) -> Result<Config, String> {
        let get = Getter(settings);
        let hosts = read_hosts(&get)?;
        let tls = read_tls(&get, &hosts)?;
        let log_level = get.text("log-level").unwrap_or("info".into());
        if !matches!(log_level.as_str(), "trace" | "debug" | "info" | "warn" | "error" | "fatal") {
            return Err(format!("unable to parse logging level: {log_level}"));
        }
        check_drivers(&get)?;
        for label in get.list("labels") {
            check_label(&label)?;
        }
        for server in get.list("dns") {
            check_ip(&server)?;
        }
        for mirror in get.list("registry-mirrors") {
            check_mirror(&mirror)?;
        }
        Ok(Config {
            hosts,
            tls,
            log_level,
            data_root: get.path("data-root", "/var/lib/docker"),
            exec_root: get.path("exec-root", "/var/run/docker"),
            pidfile: get.path("pidfile", "/var/run/docker.pid"),
            group: get.text("group"),
            debug: get.flag("debug", false),
            labels: get.list("labels"),
            bridge: get.text("bridge").filter(|b| !b.is_empty()),
            bip: get.text("bip").filter(|b| !b.is_empty()),
            fixed_cidr: get.text("fixed-cidr").filter(|b| !b.is_empty()),
            icc: get.flag("icc", true),
            ip: get.ip("ip")?.unwrap_or(IpAddr::from([0, 0, 0, 0])),
            ip_forward: get.flag("ip-forward", true),
            ip_masq: get.flag("ip-masq", true),
            firewall: get.flag("iptables", true),
            mtu: get.number("mtu", 1500)?,
            dns: get.list("dns"),
            dns_options: get.list("dns-opts"),
            dns_search: get.list("dns-search"),
            host_gateway: get.ip("host-gateway-ip")?,
            address_pools: read_pools(settings.get("default-address-pools"))?,
            registry_mirrors: get.list("registry-mirrors"),
            insecure_registries: get.list("insecure-registries"),
            downloads: get.number("max-concurrent-downloads", 3)?,
            uploads: get.number("max-concurrent-uploads", 5)?,
            log_driver: get.text("log-driver").unwrap_or("json-file".into()),
            log_opts: read_map(settings.get("log-opts")),
            shm_size: read_shm(settings.get("default-shm-size"))?,
            ulimits: read_ulimits(settings.get("default-ulimits"))?,
            no_new_privileges: get.flag("no-new-privileges", false),
            init: get.flag("init", false),
            cgroup_parent: get.text("cgroup-parent").filter(|p| !p.is_empty()),
            ipc_mode: get.one_of("default-ipc-mode", &["private", "shareable"])?.unwrap_or("private".into()),
            cgroupns_mode: get.one_of("default-cgroupns-mode", &["host", "private"])?,
            oom_score_adjust: settings.get("oom-score-adjust").and_then(Value::as_i64),
            metrics: read_metrics(&get)?,
            notes: Vec::new(),
        })
    }
}

struct Getter<'a>(&'a Settings);

impl Getter<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(str::to_owned)
    }

    fn path(&self, key: &str, default: &str) -> PathBuf {
        self.text(key).filter(|p| !p.is_empty()).unwrap_or_else(|| default.to_owned()).into()
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    fn list(&self, key: &str) -> Vec<String> {
        let items = self.0.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn number<T: TryFrom<i64>>(&self, key: &str, default: i64) -> Result<T, String> {
        let n = self.0.get(key).and_then(Value::as_i64).filter(|n| *n != 0).unwrap_or(default);
        T::try_from(n).map_err(|_| format!("invalid value {n} for {key}"))
    }

    fn ip(&self, key: &str) -> Result<Option<IpAddr>, String> {
        let Some(text) = self.text(key).filter(|t| !t.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{text} is not an ip address"))
    }

    fn one_of(&self, key: &str, allowed: &[&str]) -> Result<Option<String>, String> {
        match self.text(key) {
            Some(v) if !v.is_empty() && !allowed.contains(&v.as_str()) => {
                Err(format!("invalid {key} ({v}), use one of {}", allowed.join(", ")))
            }
            other => Ok(other.filter(|v| !v.is_empty())),
        }
    }
}

fn read_hosts(get: &Getter<'_>) -> Result<Vec<Host>, String> {
    let named = get.list("hosts");
    if named.is_empty() {
        return Ok(vec![Host::Unix("/var/run/docker.sock".into())]);
    }
    named.iter().map(|h| parse_host(h)).collect()
}

/// `unix://PATH` or `tcp://HOST:PORT`; a bare `HOST:PORT` is tcp, as dockerd has it.
pub(super) fn parse_host(text: &str) -> Result<Host, String> {
    let wrong = || format!("Invalid bind address format: {text}");
    match text.split_once("://") {
        Some(("unix", "")) => Ok(Host::Unix("/var/run/docker.sock".into())),
        Some(("unix", path)) => Ok(Host::Unix(path.into())),
        Some(("tcp", address)) => Ok(Host::Tcp(with_port(address).ok_or_else(wrong)?)),
        Some(("fd", _)) => {
            Err("fd:// is not supported: engined makes its sockets itself; use unix:///run/docker.sock"
                .into())
        }
        Some(_) => Err(wrong()),
        None => Ok(Host::Tcp(with_port(text).ok_or_else(wrong)?)),
    }
}

fn with_port(address: &str) -> Option<String> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok()?),
        None => (address, 0),
    };
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    (!host.contains('/')).then(|| format!("{host}:{port}"))
}

fn read_tls(get: &Getter<'_>, hosts: &[Host]) -> Result<Option<Tls>, String> {
    let verify = get.flag("tlsverify", false);
    let wanted = verify || get.flag("tls", false);
    if !wanted {
        let plain_asked = get.0.contains_key("tls") || get.0.contains_key("tlsverify");
        return match hosts.iter().find(|h| matches!(h, Host::Tcp(_))) {
            Some(Host::Tcp(address)) if !plain_asked => Err(format!(
                "tcp://{address} without TLS gives root on this machine to everyone who reaches it: use --tlsverify with --tlscacert, --tlscert and --tlskey, or say --tls=false if that is what you want"
            )),
            _ => Ok(None),
        };
    }
    let dir = PathBuf::from(std::env::var_os("HOME").unwrap_or("/root".into())).join(".docker");
    let file = |key: &str, name: &str| get.text(key).map_or_else(|| dir.join(name), PathBuf::from);
    Ok(Some(Tls {
        cert: file("tlscert", "cert.pem"),
        key: file("tlskey", "key.pem"),
        client_ca: verify.then(|| file("tlscacert", "ca.pem")),
    }))
}

fn read_metrics(get: &Getter<'_>) -> Result<Option<std::net::SocketAddr>, String> {
    let Some(text) = get.text("metrics-addr").filter(|t| !t.is_empty()) else { return Ok(None) };
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.clone() };
    let parsed = full.parse().map(Some);
    parsed.map_err(|_| {
        format!("invalid metrics-addr {text:?}: write an IP address and a port, as 127.0.0.1:9323")
    })
}

fn check_drivers(get: &Getter<'_>) -> Result<(), String> {
    if let Some(driver) =
        get.text("storage-driver").filter(|d| !matches!(d.as_str(), "" | "overlay2" | "overlay"))
    {
        return Err(format!("--storage-driver {driver} is not supported: use overlay2"));
    }
    if let Some(driver) = get.text("log-driver").filter(|d| !matches!(d.as_str(), "" | "json-file" | "none"))
    {
        return Err(format!("--log-driver {driver} is not supported: use json-file or none"));
    }
    for option in get.list("exec-opts") {
        if option != "native.cgroupdriver=cgroupfs" {
            return Err(format!(
                "--exec-opt {option} is not supported: engined manages cgroups itself (native.cgroupdriver=cgroupfs)"
            ));
        }
    }
    Ok(())
}

pub(super) fn check_label(label: &str) -> Result<(), String> {
    match label.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(()),
        _ => Err(format!("bad attribute format: {label}")),
    }
}

pub(super) fn check_ip(text: &str) -> Result<(), String> {
    text.trim().parse::<IpAddr>().map(|_| ()).map_err(|_| format!("{text} is not an ip address"))
}

pub(super) fn check_mirror(text: &str) -> Result<(), String> {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    if scheme == "http" || scheme == "https" {
        return Ok(());
    }
    Err(format!("invalid mirror: unsupported scheme {scheme:?} in {text:?}"))
}

fn read_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect()
}

fn read_shm(value: Option<&Value>) -> Result<u64, String> {
    match value {
        None => Ok(64 << 20),
        Some(Value::Number(n)) => n.as_u64().ok_or_else(|| format!("invalid default-shm-size: {n}")),
        Some(other) => {
            let text = other.as_str().unwrap_or_default();
            engine_api::size::parse(text).ok_or_else(|| format!("invalid size: '{text}'"))
        }
    }
}

fn read_pools(value: Option<&Value>) -> Result<Vec<AddressPool>, String> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().map(read_pool).collect()
}

/// `base=10.10.0.0/16,size=24` of the flag, or `{"base": …, "size": …}` of the file.
fn read_pool(value: &Value) -> Result<AddressPool, String> {
    let (base, size) = match value {
        Value::Object(o) => {
            (o.get("base").and_then(Value::as_str).map(str::to_owned), o.get("size").and_then(Value::as_u64))
        }
        other => {
            let fields: BTreeMap<&str, &str> =
                other.as_str().unwrap_or_default().split(',').filter_map(|f| f.split_once('=')).collect();
            (fields.get("base").map(|b| (*b).to_owned()), fields.get("size").and_then(|s| s.parse().ok()))
        }
    };
    match (base, size.and_then(|s| u8::try_from(s).ok())) {
        (Some(base), Some(size)) if size <= 32 => Ok(AddressPool { base, size }),
        _ => Err(format!("invalid default address pool {value}: write base=10.10.0.0/16,size=24")),
    }
}

/// `nofile=1024:2048` of the flag, or `{"nofile": {"Name","Soft","Hard"}}` of the file.
fn read_ulimits(value: Option<&Value>) -> Result<Vec<Ulimit>, String> {
    let number = |o: &Value, key: &str| o.get(key).and_then(Value::as_i64).unwrap_or(0);
    match value {
        Some(Value::Object(by_name)) => Ok(by_name
            .iter()
            .map(|(name, l)| Ulimit { name: name.clone(), soft: number(l, "Soft"), hard: number(l, "Hard") })
            .collect()),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(parse_ulimit).collect(),
        _ => Ok(Vec::new()),
    }
}

fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let wrong = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let soft = soft.parse().map_err(|_| wrong())?;
    let hard = hard.parse().map_err(|_| wrong())?;
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}
