//! The settings with their types and defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::{Settings, values};

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

/// How the engine reaches registries; empty is directly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    pub(crate) http: String,
    pub(crate) https: String,
    /// Hosts and networks that are reached directly, by commas.
    pub(crate) except: String,
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
    /// Options of new networks, by driver.
    pub(crate) network_opts: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) registry_mirrors: Vec<String>,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) downloads: usize,
    pub(crate) uploads: usize,
    /// Tries for each layer of a pull.
    pub(crate) attempts: u32,
    pub(crate) proxies: Proxies,
    pub(crate) log_driver: String,
    pub(crate) log_opts: BTreeMap<String, String>,
    pub(crate) shm_size: u64,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) no_new_privileges: bool,
    /// Containers get no filter of system calls unless they ask for the built-in one.
    pub(crate) seccomp_unconfined: bool,
    pub(crate) init: bool,
    pub(crate) cgroup_parent: Option<String>,
    pub(crate) ipc_mode: String,
    pub(crate) cgroupns_mode: Option<String>,
    pub(crate) oom_score_adjust: Option<i64>,
    /// Where figures for Prometheus are served, besides the API.
    pub(crate) metrics: Option<std::net::SocketAddr>,
    /// Only say whether the settings are good.
    pub(crate) validate: bool,
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
        check_features(&get)?;
        values::check_labels(&get.list("labels"))?;
        get.list("dns").iter().try_for_each(|server| values::check_ip(server))?;
        get.list("dns-search").iter().try_for_each(|domain| values::check_domain(domain))?;
        get.list("registry-mirrors").iter().try_for_each(|mirror| values::check_mirror(mirror))?;
        get.list("insecure-registries").iter().try_for_each(|host| values::check_registry(host))?;
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
            mtu: get.number("mtu", 1500, "default MTU")?,
            dns: get.list("dns"),
            dns_options: get.list("dns-opts"),
            dns_search: get.list("dns-search"),
            host_gateway: host_gateway(&get)?,
            address_pools: values::read_pools(settings.get("default-address-pools"))?,
            network_opts: network_opts(settings.get("default-network-opts")),
            registry_mirrors: get.list("registry-mirrors"),
            insecure_registries: get
                .list("insecure-registries")
                .iter()
                .map(|host| values::registry_name(host))
                .collect(),
            downloads: get.number("max-concurrent-downloads", 3, "max concurrent downloads")?,
            uploads: get.number("max-concurrent-uploads", 5, "max concurrent uploads")?,
            attempts: attempts(&get)?,
            proxies: Proxies {
                http: get.or_environment("http-proxy", "HTTP_PROXY"),
                https: get.or_environment("https-proxy", "HTTPS_PROXY"),
                except: get.or_environment("no-proxy", "NO_PROXY"),
            },
            log_driver: get.text("log-driver").unwrap_or("json-file".into()),
            log_opts: values::read_map(settings.get("log-opts")),
            shm_size: values::read_shm(settings.get("default-shm-size"))?,
            ulimits: values::read_ulimits(settings.get("default-ulimits"))?,
            no_new_privileges: get.flag("no-new-privileges", false),
            seccomp_unconfined: seccomp_unconfined(&get)?,
            init: get.flag("init", false),
            cgroup_parent: get.text("cgroup-parent").filter(|p| !p.is_empty()),
            ipc_mode: get
                .one_of("default-ipc-mode", ["shareable", "private"], "default IPC mode setting")?
                .unwrap_or("private".into()),
            cgroupns_mode: get.one_of(
                "default-cgroupns-mode",
                ["host", "private"],
                "default cgroup namespace mode",
            )?,
            oom_score_adjust: settings.get("oom-score-adjust").and_then(Value::as_i64),
            metrics: read_metrics(&get)?,
            validate: false,
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

    /// Zero is the default; less is a mistake.
    fn number<T: TryFrom<i64>>(&self, key: &str, default: i64, what: &str) -> Result<T, String> {
        let n = self.0.get(key).and_then(Value::as_i64).filter(|n| *n != 0).unwrap_or(default);
        T::try_from(n).map_err(|_| format!("invalid {what}: {n}"))
    }

    /// A setting that the environment may hold too, as other programs read it.
    fn or_environment(&self, key: &str, variable: &str) -> String {
        let read = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let own = self.text(key).filter(|v| !v.is_empty());
        own.or_else(|| read(variable)).or_else(|| read(&variable.to_ascii_lowercase())).unwrap_or_default()
    }

    fn ip(&self, key: &str) -> Result<Option<IpAddr>, String> {
        let Some(text) = self.text(key).filter(|t| !t.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{text} is not an ip address"))
    }

    fn one_of(&self, key: &str, allowed: [&str; 2], what: &str) -> Result<Option<String>, String> {
        match self.text(key) {
            Some(v) if !v.is_empty() && !allowed.contains(&v.as_str()) => {
                Err(format!("{what} ({v}) is invalid; use {:?} or {:?}", allowed[0], allowed[1]))
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
    if let Some(driver) =
        get.text("log-driver").filter(|d| !matches!(d.as_str(), "" | "json-file" | "local" | "none"))
    {
        return Err(format!("--log-driver {driver} is not supported: use json-file, local or none"));
    }
    for option in get.list("exec-opts") {
        if option != "native.cgroupdriver=cgroupfs" {
            return Err(format!(
                "--exec-opt {option} is not supported: engined manages cgroups itself (native.cgroupdriver=cgroupfs)"
            ));
        }
    }
    // Asks for what is the case anyway.
    let idle = |option: &String| option.starts_with("overlay2.override_kernel_check=");
    match get.list("storage-opts").iter().find(|option| !idle(option)) {
        Some(option) => Err(format!(
            "--storage-opt {option} is not supported: limit what containers write by the file system of the data root"
        )),
        None => Ok(()),
    }
}

/// A feature may always be switched off.
fn check_features(get: &Getter<'_>) -> Result<(), String> {
    for (name, value) in values::read_map(get.0.get("features")) {
        match (name.as_str(), value.as_str()) {
            (_, "false") => {}
            ("buildkit", _) => {
                return Err("the feature buildkit is not supported: the classic builder builds images; set it to false".into());
            }
            (name, _) => {
                return Err(format!("the feature {name} is not supported: set it to false, or drop it"));
            }
        }
    }
    Ok(())
}

fn seccomp_unconfined(get: &Getter<'_>) -> Result<bool, String> {
    match get.text("seccomp-profile").as_deref() {
        None | Some("" | "builtin") => Ok(false),
        Some("unconfined") => Ok(true),
        Some(path) => Err(format!(
            "--seccomp-profile {path} is not supported: use builtin, or unconfined for no filter at all"
        )),
    }
}

/// The address is IPv4; that of IPv6 in a list is for networks that are not there.
fn host_gateway(get: &Getter<'_>) -> Result<Option<IpAddr>, String> {
    if let Some(one) = get.ip("host-gateway-ip")? {
        return Ok(Some(one));
    }
    let listed = get.list("host-gateway-ips");
    listed.iter().try_for_each(|ip| values::check_ip(ip))?;
    Ok(listed.iter().filter_map(|ip| ip.parse().ok()).find(IpAddr::is_ipv4))
}

fn attempts(get: &Getter<'_>) -> Result<u32, String> {
    match get.0.get("max-download-attempts").and_then(Value::as_i64) {
        None => Ok(5),
        Some(n) => match u32::try_from(n) {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(format!("invalid max download attempts: {n}")),
        },
    }
}

fn network_opts(value: Option<&Value>) -> BTreeMap<String, BTreeMap<String, String>> {
    let drivers = value.and_then(Value::as_object).into_iter().flatten();
    drivers.map(|(driver, options)| (driver.clone(), values::read_map(Some(options)))).collect()
}
