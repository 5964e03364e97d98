//! etcd's flags and `ETCD_*` variables. Only parsing; see `config` for what they mean together.
//!
//! `elders` is what etcd knows beyond these; `environment` and `file` are the other places to say it; `words` says what
//! is wrong with it as etcd does.

mod elders;
mod environment;
mod file;
mod words;

use std::{collections::BTreeSet, ffi::OsString};

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use environment::Environment;
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
    /// Answer JSON below /v3 as well
    #[arg(long, env = "ETCD_ENABLE_GRPC_GATEWAY", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) enable_grpc_gateway: bool,
    /// Most calls at a time on one connection
    #[arg(long, env = "ETCD_MAX_CONCURRENT_STREAMS", default_value_t = u32::MAX)]
    pub(crate) max_concurrent_streams: u32,
    /// Ask a silent client after this long whether it is still there; 0s: never
    #[arg(long, env = "ETCD_GRPC_KEEPALIVE_INTERVAL", default_value = "2h")]
    pub(crate) grpc_keepalive_interval: String,
    /// Close the connection if it does not answer that within this time
    #[arg(long, env = "ETCD_GRPC_KEEPALIVE_TIMEOUT", default_value = "20s")]
    pub(crate) grpc_keepalive_timeout: String,
    /// Tell quiet watches that ask for it this often that they missed nothing
    #[arg(
        long,
        env = "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL",
        value_name = "TIME",
        default_value = "10m"
    )]
    pub(crate) experimental_watch_progress_notify_interval: String,
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
    /// What of it has no effect, to be logged.
    #[arg(skip)]
    pub(crate) notes: Vec<String>,
}

impl Flags {
    /// Reads a command line, its environment, and the file one of them names. `args[0]` is the program.
    pub(crate) fn read(args: Vec<OsString>) -> Result<Self, Misuse> {
        Self::read_in(args, &Environment::of_process())
    }

    fn read_in(args: Vec<OsString>, environment: &Environment) -> Result<Self, Misuse> {
        let given = Self::parse_args(args.clone(), &Environment::default())?.config_file;
        let file = given.filter(|path| !path.is_empty());
        let Some(path) = file.as_deref().or_else(|| environment.get("ETCD_CONFIG_FILE")) else {
            return Self::parse_args(args, environment);
        };
        let mut args = vec![OsString::from("kvd")];
        args.extend(file::arguments(path)?);
        Self::parse_args(args, &Environment::default())
    }

    fn parse_args(args: Vec<OsString>, environment: &Environment) -> Result<Self, Misuse> {
        let mut args = normalise(args);
        let command = Self::command();
        let variables = command.get_arguments().filter(|arg| arg.get_env().is_some());
        let known: BTreeSet<String> = variables
            .filter_map(|arg| arg.get_long().map(str::to_owned))
            .chain(elders::names().map(str::to_owned))
            .collect();
        let (from_environment, unknown) = environment.flags(&known, &args)?;
        args.extend(from_environment.iter().cloned());
        let (args, ignored) = elders::take(args)?;
        // What the environment says was added above; only help tells of it.
        let command = command.mut_args(|arg| arg.env(None::<&'static str>));
        let in_words = |error: clap::Error| match error.kind() {
            clap::error::ErrorKind::DisplayHelp => Misuse::help(&mut Self::command()),
            _ => words::of(error, &from_environment),
        };
        let matches = command.try_get_matches_from(args).map_err(in_words)?;
        let mut flags = Self::from_arg_matches(&matches).map_err(in_words)?;
        let ignored = ignored.into_iter().map(|name| format!("--{name} has no effect here"));
        let unknown = unknown.into_iter().map(|name| format!("unrecognized environment variable {name}"));
        flags.notes = ignored.chain(unknown).collect();
        Ok(flags)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str], variables: &[(&str, &str)]) -> Result<Flags, Misuse> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Flags::read_in(args.iter().map(OsString::from).collect(), &Environment::new(variables))
    }

    #[test]
    fn the_environment_counts_where_the_command_line_is_silent() {
        let variables =
            [("ETCD_NAME", "a"), ("ETCD_ENABLE_V2", "false"), ("ETCD_MAX_WALS", "3"), ("ETCD_X", "y")];
        let flags = read(&["kvd", "--data-dir=d"], &variables).expect("good");
        assert_eq!(
            (flags.name.as_str(), flags.enable_v2, flags.data_dir.as_deref()),
            ("a", false, Some("d"))
        );
        assert_eq!(
            flags.notes,
            ["--max-wals has no effect here", "unrecognized environment variable ETCD_X"]
        );
        let wrong = read(&["kvd"], &[("ETCD_HEARTBEAT_INTERVAL", "abc")]).expect_err("no number");
        let expected = "error verifying flags, invalid value \"abc\" for ETCD_HEARTBEAT_INTERVAL: parse error. See 'etcd --help'.";
        assert_eq!((wrong.to_string().as_str(), wrong.code), (expected, 1));
    }

    #[test]
    fn a_file_silences_both() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "name: f\n").expect("written");
        let path = file.path().to_str().expect("text");
        let flags =
            read(&["kvd", "--name=a", "--config-file", path], &[("ETCD_DATA_DIR", "e")]).expect("good");
        assert_eq!((flags.name.as_str(), flags.data_dir), ("f", None));
        let flags = read(&["kvd"], &[("ETCD_CONFIG_FILE", path), ("ETCD_NAME", "e")]).expect("good");
        assert_eq!(flags.name, "f");
    }
}
