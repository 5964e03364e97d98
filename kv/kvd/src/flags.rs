//! etcd's flags and `ETCD_*` variables. Only parsing; see `config` for what they mean together.
//!
//! `elders` is what etcd knows beyond these; `file` reads a configuration file; `words` says what is wrong with a
//! command line as etcd says it.

mod elders;
mod file;
mod words;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

pub(crate) use words::Misuse;

pub(crate) const LISTEN_CLIENT: &str = "http://localhost:2379";
pub(crate) const ADVERTISE_CLIENT: &str = "http://localhost:2379";

/// A replicated key-value store that speaks etcd's API
#[derive(Debug, Clone, Parser)]
#[command(name = "kvd", disable_version_flag = true)]
pub(crate) struct Flags {
    /// Print the version and exit
    #[arg(long)]
    pub(crate) version: bool,
    /// Read the configuration from this YAML file; other flags do not count then
    #[arg(long, env = "ETCD_CONFIG_FILE")]
    pub(crate) config_file: Option<String>,
    /// Human-readable name of this member
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub(crate) name: String,
    /// Path of the data directory [default: NAME.etcd]
    #[arg(long, env = "ETCD_DATA_DIR")]
    pub(crate) data_dir: Option<String>,
    /// Path of a directory of its own for the log
    #[arg(long, env = "ETCD_WAL_DIR")]
    pub(crate) wal_dir: Option<String>,
    /// URLs to listen on for members
    #[arg(long, env = "ETCD_LISTEN_PEER_URLS", default_value = "http://localhost:2380")]
    pub(crate) listen_peer_urls: String,
    /// URLs to listen on for clients
    #[arg(long, env = "ETCD_LISTEN_CLIENT_URLS", default_value = LISTEN_CLIENT)]
    pub(crate) listen_client_urls: String,
    /// More URLs to serve /metrics and /health on
    #[arg(long, env = "ETCD_LISTEN_METRICS_URLS", default_value = "")]
    pub(crate) listen_metrics_urls: String,
    /// This member's peer URLs, as the others reach them
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS", default_value = "http://localhost:2380")]
    pub(crate) initial_advertise_peer_urls: String,
    /// This member's client URLs, as clients reach them
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", default_value = ADVERTISE_CLIENT)]
    pub(crate) advertise_client_urls: String,
    /// The founding members: NAME=URL,NAME=URL,...
    #[arg(long, env = "ETCD_INITIAL_CLUSTER")]
    pub(crate) initial_cluster: Option<String>,
    /// Whether the cluster is `new` or `existing`
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new")]
    pub(crate) initial_cluster_state: String,
    /// Keeps clusters with the same members apart
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", default_value = "etcd-cluster")]
    pub(crate) initial_cluster_token: String,
    /// Where to find the other founding members: http://HOST/TOKEN, token://HOST/ID or file:///PATH
    #[arg(long, env = "ETCD_DISCOVERY")]
    pub(crate) discovery: Option<String>,
    /// Found the cluster with the data of a saved snapshot; all founders must be given the same
    #[arg(long, env = "ETCD_INITIAL_SNAPSHOT")]
    pub(crate) initial_snapshot: Option<String>,
    /// Milliseconds between heartbeats
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL", default_value_t = 100)]
    pub(crate) heartbeat_interval: u64,
    /// Milliseconds without a heartbeat before an election
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT", default_value_t = 1000)]
    pub(crate) election_timeout: u64,
    /// Raise the space alarm above this many live bytes (0: 16 GiB)
    #[arg(long, env = "ETCD_QUOTA_BACKEND_BYTES", default_value_t = 0)]
    pub(crate) quota_backend_bytes: i64,
    /// How old history is forgotten: `periodic` or `revision`
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", default_value = "periodic")]
    pub(crate) auto_compaction_mode: String,
    /// How much history is kept: hours, a duration, or revisions; 0 keeps all
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "1h")]
    pub(crate) auto_compaction_retention: String,
    /// Most operations in one transaction
    #[arg(long, env = "ETCD_MAX_TXN_OPS", default_value_t = 128)]
    pub(crate) max_txn_ops: usize,
    /// Largest request in bytes
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", default_value_t = 1_572_864)]
    pub(crate) max_request_bytes: usize,
    /// Refuse changes of members that would lose the quorum
    #[arg(long, env = "ETCD_STRICT_RECONFIG_CHECK", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) strict_reconfig_check: bool,
    /// Serve the first API, /v2
    #[arg(long, env = "ETCD_ENABLE_V2", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) enable_v2: bool,
    /// Certificate for clients
    #[arg(long, env = "ETCD_CERT_FILE")]
    pub(crate) cert_file: Option<String>,
    /// Key of that certificate
    #[arg(long, env = "ETCD_KEY_FILE")]
    pub(crate) key_file: Option<String>,
    /// Clients must show a certificate
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) client_cert_auth: bool,
    /// The CA that clients' certificates are checked against
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE")]
    pub(crate) trusted_ca_file: Option<String>,
    /// Clients' certificates that are good no more: a revocation list of that CA, PEM or DER
    #[arg(long, env = "ETCD_CLIENT_CRL_FILE")]
    pub(crate) client_crl_file: Option<String>,
    /// Certificate for members
    #[arg(long, env = "ETCD_PEER_CERT_FILE")]
    pub(crate) peer_cert_file: Option<String>,
    /// Key of that certificate
    #[arg(long, env = "ETCD_PEER_KEY_FILE")]
    pub(crate) peer_key_file: Option<String>,
    /// Members must show a certificate
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_AUTH", default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) peer_client_cert_auth: bool,
    /// The CA that members' certificates are checked against
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE")]
    pub(crate) peer_trusted_ca_file: Option<String>,
    /// Members' certificates that are good no more
    #[arg(long, env = "ETCD_PEER_CRL_FILE")]
    pub(crate) peer_crl_file: Option<String>,
    /// debug, info, warn, error, panic or fatal
    #[arg(long, env = "ETCD_LOG_LEVEL", default_value = "info")]
    pub(crate) log_level: String,
    /// Accepted for etcd's sake; logs go to stderr
    #[arg(long, env = "ETCD_LOGGER", default_value = "zap", hide = true)]
    pub(crate) logger: String,
    /// Accepted for etcd's sake; logs go to stderr
    #[arg(long, env = "ETCD_LOG_OUTPUTS", default_value = "default", hide = true)]
    pub(crate) log_outputs: String,
    /// Accepted for etcd's sake: snapshots cost nothing here
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT", default_value_t = 100_000, hide = true)]
    pub(crate) snapshot_count: u64,
    /// Accepted for etcd's sake: always on
    #[arg(long, env = "ETCD_PRE_VOTE", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
    pub(crate) pre_vote: bool,
}

impl Flags {
    /// Reads a command line, and the file it names. `args[0]` is the program.
    pub(crate) fn read(args: Vec<OsString>) -> Result<Self, Misuse> {
        let flags = Self::parse_args(args)?;
        let Some(path) = flags.config_file.as_deref().filter(|path| !path.is_empty()) else {
            return Ok(flags);
        };
        let mut args = vec![OsString::from("kvd")];
        args.extend(file::arguments(path)?);
        Self::parse_args(args)
    }

    fn parse_args(args: Vec<OsString>) -> Result<Self, Misuse> {
        let args = elders::take(normalise(args))?;
        let matches = Self::command().try_get_matches_from(args).map_err(words::of)?;
        Self::from_arg_matches(&matches).map_err(words::of)
    }
}

/// etcd takes flags with one dash too, and switches with any of Go's words.
fn normalise(args: Vec<OsString>) -> Vec<OsString> {
    let dashes = |arg: OsString| match arg.to_str() {
        Some(text) if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 => {
            format!("-{text}").into()
        }
        _ => arg,
    };
    args.into_iter().map(dashes).collect()
}
