//! What a member was told, checked and made sense of, with etcd's words when it makes none.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::flags::{ADVERTISE_CLIENT, Flags, LISTEN_CLIENT};

/// Why a configuration makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("invalid value {url:?} for flag -{flag}: {reason}")]
    Url { flag: &'static str, url: String, reason: String },
    #[error("expected IP in URL for binding ({0})")]
    NoIp(String),
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    NotAdvertised,
    #[error("--election-timeout[{0}ms] is too long, and should be set less than 50000ms")]
    ElectionTooLong(u64),
    #[error("unknown logger option {0:?}")]
    Logger(String),
    #[error("unknown log level {0:?} (want debug, info, warn, error, panic or fatal)")]
    LogLevel(String),
    #[error(
        "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
    )]
    Timing { election: u64, heartbeat: u64 },
    #[error("couldn't find local name \"{0}\" in the initial cluster configuration")]
    NoLocalName(String),
    #[error(
        "--initial-cluster has {listed} but missing from --initial-advertise-peer-urls={ours} \
         (resolved urls: {ours:?} != {named:?})"
    )]
    UrlsDiffer { listed: String, ours: String, named: String },
    #[error("error setting up initial cluster: `{0}` is not NAME=URL")]
    InitialCluster(String),
    #[error("invalid value {0:?} for flag -initial-cluster-state: invalid value")]
    ClusterState(String),
    #[error(
        "--auto-compaction-retention: `{0}` is not a number of hours or revisions, nor a duration such as 30m"
    )]
    Retention(String),
    #[error("invalid value {value:?} for flag -{flag}: parse error")]
    Duration { flag: &'static str, value: String },
    #[error("unknown auto-compaction-mode {0:?}")]
    CompactionMode(String),
    #[error("{0} needs both a certificate and a key")]
    HalfTls(&'static str),
    #[error(
        "multiple discovery or bootstrap flags are set. \
         Choose one of \"initial-cluster\", \"discovery\" or \"discovery-srv\""
    )]
    DiscoveryAndStatic,
}

impl ConfigError {
    /// How etcd would end: misuse of a flag itself is 2.
    pub(crate) fn code(&self) -> u8 {
        if matches!(self, Self::Url { .. } | Self::ClusterState(_) | Self::Duration { .. }) { 2 } else { 1 }
    }

    /// Whether it is about flags not going together, as etcd finds out after reading them.
    pub(crate) fn is_about_flags(&self) -> bool {
        matches!(
            self,
            Self::Timing { .. }
                | Self::NoIp(_)
                | Self::NotAdvertised
                | Self::ElectionTooLong(_)
                | Self::Logger(_)
                | Self::CompactionMode(_)
                | Self::DiscoveryAndStatic
        )
    }
}

/// Which history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    All,
    Period(Duration),
    Revisions(i64),
}

/// Files of one side's TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    /// The CA's list of certificates that are good no more.
    pub crl: Option<PathBuf>,
    pub require_client_cert: bool,
}

/// How clients' connections are kept.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// Most calls at a time on one.
    pub most_streams: u32,
    /// A silent client is asked after this long whether it is still there; never, if none.
    pub ping_every: Option<Duration>,
    /// And has so long to answer.
    pub ping_timeout: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self { most_streams: u32::MAX, ping_every: None, ping_timeout: Duration::from_secs(20) }
    }
}

/// A member's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    pub data_dir: PathBuf,
    pub wal_dir: Option<PathBuf>,
    pub listen_peer: Vec<String>,
    pub listen_client: Vec<String>,
    pub listen_metrics: Vec<String>,
    pub advertise_peer: Vec<String>,
    pub advertise_client: Vec<String>,
    /// Name to peer URLs of the founding members.
    pub initial_cluster: BTreeMap<String, Vec<String>>,
    pub existing: bool,
    pub token: String,
    pub discovery: Option<String>,
    /// A saved snapshot whose data the new cluster begins with.
    pub initial_snapshot: Option<PathBuf>,
    pub heartbeat: Duration,
    pub election: Duration,
    pub quota_bytes: i64,
    pub retention: Retention,
    pub max_txn_ops: usize,
    pub max_request_bytes: usize,
    pub strict_reconfig: bool,
    pub enable_v2: bool,
    /// Whether JSON is answered below /v3.
    pub gateway: bool,
    pub connections: Connections,
    /// How often quiet watches that ask for it are told that they missed nothing.
    pub progress_every: Duration,
    pub client_tls: TlsFiles,
    pub peer_tls: TlsFiles,
}

impl Config {
    pub(crate) fn new(flags: Flags) -> Result<Self, ConfigError> {
        if flags.election_timeout < 5 * flags.heartbeat_interval {
            let (election, heartbeat) = (flags.election_timeout, flags.heartbeat_interval);
            return Err(ConfigError::Timing { election, heartbeat });
        }
        if flags.election_timeout > 50_000 {
            return Err(ConfigError::ElectionTooLong(flags.election_timeout));
        }
        if !["zap", "capnslog"].contains(&flags.logger.as_str()) {
            return Err(ConfigError::Logger(flags.logger));
        }
        const LEVELS: [&str; 8] = ["debug", "info", "warn", "warning", "error", "dpanic", "panic", "fatal"];
        if !LEVELS.contains(&flags.log_level.to_lowercase().as_str()) {
            return Err(ConfigError::LogLevel(flags.log_level));
        }
        urls("listen-client-urls", &flags.listen_client_urls)?;
        if flags.listen_client_urls != LISTEN_CLIENT && flags.advertise_client_urls == ADVERTISE_CLIENT {
            return Err(ConfigError::NotAdvertised);
        }
        let existing = match flags.initial_cluster_state.as_str() {
            "new" => false,
            "existing" => true,
            other => return Err(ConfigError::ClusterState(other.to_owned())),
        };
        if flags.discovery.is_some() && flags.initial_cluster.is_some() {
            return Err(ConfigError::DiscoveryAndStatic);
        }
        let advertise_peer = urls("initial-advertise-peer-urls", &flags.initial_advertise_peer_urls)?;
        let cluster_text = flags.initial_cluster.clone().unwrap_or_else(|| {
            format!("{}={}", flags.name, advertise_peer.join(&format!(",{}=", flags.name)))
        });
        let initial_cluster = parse_cluster(&cluster_text)?;
        if flags.discovery.is_none() {
            check_self(&flags.name, &initial_cluster, &advertise_peer)?;
        }
        Ok(Self {
            data_dir: flags.data_dir.map_or_else(|| format!("{}.etcd", flags.name).into(), PathBuf::from),
            wal_dir: flags.wal_dir.map(PathBuf::from),
            listen_peer: binding(urls("listen-peer-urls", &flags.listen_peer_urls)?)?,
            listen_client: binding(urls("listen-client-urls", &flags.listen_client_urls)?)?,
            listen_metrics: urls("listen-metrics-urls", &flags.listen_metrics_urls)?,
            advertise_client: urls("advertise-client-urls", &flags.advertise_client_urls)?,
            advertise_peer,
            initial_cluster,
            existing,
            token: flags.initial_cluster_token,
            discovery: flags.discovery.filter(|url| !url.is_empty()),
            initial_snapshot: flags.initial_snapshot.filter(|path| !path.is_empty()).map(PathBuf::from),
            heartbeat: Duration::from_millis(flags.heartbeat_interval),
            election: Duration::from_millis(flags.election_timeout),
            quota_bytes: if flags.quota_backend_bytes == 0 { 16 << 30 } else { flags.quota_backend_bytes },
            retention: retention(&flags.auto_compaction_mode, &flags.auto_compaction_retention)?,
            max_txn_ops: flags.max_txn_ops,
            max_request_bytes: flags.max_request_bytes,
            strict_reconfig: flags.strict_reconfig_check,
            enable_v2: flags.enable_v2,
            gateway: flags.enable_grpc_gateway,
            connections: Connections {
                most_streams: flags.max_concurrent_streams,
                ping_every: Some(go_duration("grpc-keepalive-interval", &flags.grpc_keepalive_interval)?)
                    .filter(|every| !every.is_zero()),
                ping_timeout: go_duration("grpc-keepalive-timeout", &flags.grpc_keepalive_timeout)?,
            },
            progress_every: go_duration(
                "experimental-watch-progress-notify-interval",
                &flags.experimental_watch_progress_notify_interval,
            )?,
            client_tls: tls(
                "client TLS",
                [flags.cert_file, flags.key_file, flags.trusted_ca_file, flags.client_crl_file],
                flags.client_cert_auth,
            )?,
            peer_tls: tls(
                "peer TLS",
                [flags.peer_cert_file, flags.peer_key_file, flags.peer_trusted_ca_file, flags.peer_crl_file],
                flags.peer_client_cert_auth,
            )?,
            name: flags.name,
        })
    }
}

fn check_self(
    name: &str,
    cluster: &BTreeMap<String, Vec<String>>,
    ours: &[String],
) -> Result<(), ConfigError> {
    let named = cluster.get(name).ok_or_else(|| ConfigError::NoLocalName(name.to_owned()))?;
    let (mut named, mut ours) = (named.clone(), ours.to_vec());
    named.sort();
    ours.sort();
    if named == ours {
        return Ok(());
    }
    let listed = named.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",");
    Err(ConfigError::UrlsDiffer { listed, ours: ours.join(","), named: named.join(",") })
}

pub(crate) fn parse_cluster(text: &str) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let mut cluster = BTreeMap::<String, Vec<String>>::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, url) = part.split_once('=').ok_or_else(|| ConfigError::InitialCluster(part.to_owned()))?;
        let urls = cluster.entry(name.to_owned()).or_default();
        urls.extend(self::urls("initial-cluster", url)?);
    }
    Ok(cluster)
}

fn urls(flag: &'static str, text: &str) -> Result<Vec<String>, ConfigError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|url| match check_url(url) {
            Ok(()) if url.starts_with("unix") => Ok(url.to_owned()),
            Ok(()) => Ok(url.trim_end_matches('/').to_owned()),
            Err(reason) => Err(ConfigError::Url { flag, url: url.to_owned(), reason }),
        })
        .collect()
}

/// Whether a URL is one that members or clients may be reached at; etcd's sentence when not.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let scheme_is_wrong = || format!("URL scheme must be http, https, unix, or unixs: {url}");
    let (scheme, rest) = url.split_once("://").ok_or_else(scheme_is_wrong)?;
    match scheme {
        "unix" | "unixs" if !rest.is_empty() => return Ok(()),
        "http" | "https" => {}
        _ => return Err(scheme_is_wrong()),
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = authority.rsplit_once(':').filter(|(host, _)| !host.ends_with(':')).map(|(_, port)| port);
    if port.is_none_or(|port| port.parse::<u16>().is_err()) {
        return Err(format!("URL address does not have the form \"host:port\": {url}"));
    }
    if !path.trim_end_matches('/').is_empty() {
        return Err(format!("URL must not contain a path: {url}"));
    }
    Ok(())
}

/// What is listened on must be an address, not a name that may come to mean another.
fn binding(urls: Vec<String>) -> Result<Vec<String>, ConfigError> {
    for url in &urls {
        let Some(host) = url.split_once("://").and_then(|(scheme, rest)| {
            let is_tcp = scheme.starts_with("http");
            rest.rsplit_once(':').filter(|_| is_tcp).map(|(host, _)| host.trim_matches(['[', ']']))
        }) else {
            continue;
        };
        if host != "localhost" && host.parse::<std::net::IpAddr>().is_err() {
            return Err(ConfigError::NoIp(url.clone()));
        }
    }
    Ok(urls)
}

fn retention(mode: &str, text: &str) -> Result<Retention, ConfigError> {
    let bad = || ConfigError::Retention(text.to_owned());
    match mode {
        "revision" => match text.parse::<i64>() {
            Ok(0) => Ok(Retention::All),
            Ok(revisions) if revisions > 0 => Ok(Retention::Revisions(revisions)),
            // The default is a period; asked for revisions alone, keep a sensible number.
            _ if text == "1h" => Ok(Retention::Revisions(10_000)),
            _ => Err(bad()),
        },
        "periodic" => {
            let period = match text.parse::<u64>() {
                Ok(hours) => Duration::from_secs(hours * 3600),
                Err(_) => duration(text).ok_or_else(bad)?,
            };
            Ok(if period.is_zero() { Retention::All } else { Retention::Period(period) })
        }
        other => Err(ConfigError::CompactionMode(other.to_owned())),
    }
}

fn go_duration(flag: &'static str, text: &str) -> Result<Duration, ConfigError> {
    match duration(text) {
        Some(duration) => Ok(duration),
        None if text == "0" => Ok(Duration::ZERO),
        None => Err(ConfigError::Duration { flag, value: text.to_owned() }),
    }
}

/// A duration as Go writes it: 1h30m, 500ms.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += Duration::from_secs_f64(number * seconds);
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

fn tls(
    what: &'static str,
    files: [Option<String>; 4],
    require_client_cert: bool,
) -> Result<TlsFiles, ConfigError> {
    let [cert, key, ca, crl] = files.map(|file| file.filter(|file| !file.is_empty()).map(PathBuf::from));
    let files = TlsFiles { cert, key, ca, crl, require_client_cert };
    if files.cert.is_some() == files.key.is_some() { Ok(files) } else { Err(ConfigError::HalfTls(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("5"), None);
        assert_eq!(duration("x"), None);
    }

    #[test]
    fn a_member_must_find_itself_in_the_cluster() {
        let cluster =
            parse_cluster("a=http://1.1.1.1:1,b=http://2.2.2.2:2,a=http://1.1.1.1:3").expect("parses");
        assert_eq!(cluster["a"].len(), 2);
        let error = check_self("c", &cluster, &[]).expect_err("unknown");
        assert_eq!(error.to_string(), "couldn't find local name \"c\" in the initial cluster configuration");
        assert!(check_self("b", &cluster, &["http://2.2.2.2:2".into()]).is_ok());
    }
}
