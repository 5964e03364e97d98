//! Flags and commands, under etcdctl's names. Only parsing, and opening the connection they describe.

use std::{path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand};
use kv_client::{Client, Config, Tls};

use crate::{Failure, output::Format};

/// The command line of the key-value store
#[derive(Parser)]
#[command(name = "kvctl", disable_version_flag = true)]
pub(crate) struct Args {
    /// gRPC endpoints, comma separated
    #[arg(long, global = true, env = "ETCDCTL_ENDPOINTS", default_value = "127.0.0.1:2379")]
    endpoints: String,
    /// Print simple, json, fields or table
    #[arg(short = 'w', long, global = true, env = "ETCDCTL_WRITE_OUT", default_value = "simple")]
    pub(crate) write_out: Format,
    /// Print bytes as hex
    #[arg(long, global = true)]
    pub(crate) hex: bool,
    /// To open a connection
    #[arg(long, global = true, env = "ETCDCTL_DIAL_TIMEOUT", default_value = "2s", value_parser = duration)]
    dial_timeout: Duration,
    /// For a command that does not wait for something
    #[arg(long, global = true, env = "ETCDCTL_COMMAND_TIMEOUT", default_value = "5s", value_parser = duration)]
    command_timeout: Duration,
    /// The CA that the server's certificate is checked against
    #[arg(long, global = true, env = "ETCDCTL_CACERT")]
    cacert: Option<PathBuf>,
    /// Our certificate
    #[arg(long, global = true, env = "ETCDCTL_CERT")]
    cert: Option<PathBuf>,
    /// Its key
    // Commands have a word of their own called `key`; the two must not share an id.
    #[arg(id = "tls-key", long = "key", value_name = "KEY", global = true, env = "ETCDCTL_KEY")]
    key: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Put the given key into the store
    Put(Put),
    /// Get the key or a range of keys
    Get(Get),
    /// Remove the key or a range of keys
    Del(Del),
    /// Process a transaction from standard input
    Txn {
        /// Accepted for etcdctl's sake; prompts are not shown
        #[arg(short, long)]
        interactive: bool,
    },
    /// Watch events on keys or prefixes
    Watch(Watch),
    /// Forget history before a revision
    Compaction {
        revision: i64,
        /// Wait until it is removed
        #[arg(long)]
        physical: bool,
    },
    /// Lease related commands
    #[command(subcommand)]
    Lease(Lease),
    /// Membership related commands
    #[command(subcommand)]
    Member(Member),
    /// Endpoint related commands
    #[command(subcommand)]
    Endpoint(Endpoint),
    /// Alarm related commands
    #[command(subcommand)]
    Alarm(Alarm),
    /// Nothing to do: space is used again by itself
    Defrag {
        /// All members
        #[arg(long)]
        cluster: bool,
    },
    /// Transfer leadership to another member
    MoveLeader { id: String },
    /// Snapshot related commands
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Acquire a named lock; run a command under it
    Lock {
        name: String,
        /// Seconds until the lock ends without us
        #[arg(long, default_value_t = 60)]
        ttl: u64,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        exec: Vec<String>,
    },
    /// Observe and participate in leader elections
    Elect {
        name: String,
        proposal: Option<String>,
        /// Only observe
        #[arg(short, long)]
        listen: bool,
    },
    /// Print the version
    Version,
}

#[derive(ClapArgs)]
pub(crate) struct Put {
    pub(crate) key: String,
    /// Read from standard input when absent
    pub(crate) value: Option<String>,
    /// Lease (in hexadecimal) to attach to the key
    #[arg(long)]
    pub(crate) lease: Option<String>,
    /// Return the previous pair
    #[arg(long)]
    pub(crate) prev_kv: bool,
    /// Keep the value
    #[arg(long)]
    pub(crate) ignore_value: bool,
    /// Keep the lease
    #[arg(long)]
    pub(crate) ignore_lease: bool,
}

#[derive(ClapArgs)]
pub(crate) struct Get {
    pub(crate) key: String,
    pub(crate) range_end: Option<String>,
    /// `l`inearizable or `s`erializable
    #[arg(long, default_value = "l")]
    pub(crate) consistency: String,
    /// CREATE, KEY, MODIFY, VALUE or VERSION
    #[arg(long, default_value = "")]
    pub(crate) sort_by: String,
    /// ASCEND or DESCEND
    #[arg(long, default_value = "")]
    pub(crate) order: String,
    /// Most keys
    #[arg(long, default_value_t = 0)]
    pub(crate) limit: i64,
    /// Keys with this prefix
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Keys from this on
    #[arg(long)]
    pub(crate) from_key: bool,
    /// At this revision
    #[arg(long, default_value_t = 0)]
    pub(crate) rev: i64,
    /// Without values
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Only how many
    #[arg(long)]
    pub(crate) count_only: bool,
    /// Without keys
    #[arg(long)]
    pub(crate) print_value_only: bool,
}

#[derive(ClapArgs)]
pub(crate) struct Del {
    pub(crate) key: String,
    pub(crate) range_end: Option<String>,
    /// Keys with this prefix
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Keys from this on
    #[arg(long)]
    pub(crate) from_key: bool,
    /// Return the deleted pairs
    #[arg(long)]
    pub(crate) prev_kv: bool,
}

#[derive(ClapArgs)]
pub(crate) struct Watch {
    pub(crate) key: String,
    pub(crate) range_end: Option<String>,
    /// Keys with this prefix
    #[arg(long)]
    pub(crate) prefix: bool,
    /// From this revision
    #[arg(long, default_value_t = 0)]
    pub(crate) rev: i64,
    /// Return the previous pairs
    #[arg(long)]
    pub(crate) prev_kv: bool,
}

#[derive(Subcommand)]
pub(crate) enum Lease {
    /// Create a lease of so many seconds
    Grant { ttl: i64 },
    /// Revoke a lease
    Revoke { id: String },
    /// Get information about a lease
    Timetolive {
        id: String,
        /// With the attached keys
        #[arg(long)]
        keys: bool,
    },
    /// List all leases
    List,
    /// Keep a lease alive
    KeepAlive {
        id: String,
        /// Only once
        #[arg(long)]
        once: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum Member {
    /// Add a member to the cluster
    Add {
        name: String,
        #[arg(long, default_value = "")]
        peer_urls: String,
        /// It does not vote until promoted
        #[arg(long)]
        learner: bool,
    },
    /// Remove a member from the cluster
    Remove { id: String },
    /// Update a member's peer URLs
    Update {
        id: String,
        #[arg(long, default_value = "")]
        peer_urls: String,
    },
    /// Let a learner vote
    Promote { id: String },
    /// List all members
    List,
}

#[derive(Subcommand)]
pub(crate) enum Endpoint {
    /// Check that endpoints commit proposals
    Health {
        #[arg(long)]
        cluster: bool,
    },
    /// Print out the status of endpoints
    Status {
        #[arg(long)]
        cluster: bool,
    },
    /// Print the checksum of each endpoint's history
    Hashkv {
        #[arg(long)]
        cluster: bool,
        #[arg(long, default_value_t = 0)]
        rev: i64,
    },
}

#[derive(Subcommand)]
pub(crate) enum Alarm {
    /// Disarm all alarms
    Disarm,
    /// List all alarms
    List,
}

#[derive(Subcommand)]
pub(crate) enum Snapshot {
    /// Store a snapshot of the whole state in a file
    Save { file: PathBuf },
    /// Print what a snapshot holds
    Status { file: PathBuf },
}

impl Snapshot {
    pub(crate) fn needs_cluster(&self) -> bool {
        matches!(self, Self::Save { .. })
    }
}

/// The connection, and what else commands need of the flags.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) config: Config,
}

impl Args {
    pub(crate) fn session(&self) -> Result<Session, Failure> {
        let mut config = Config::new(self.endpoints.split(',').map(str::trim));
        config.connect_timeout = self.dial_timeout;
        config.request_timeout = self.command_timeout;
        if let Some(ca) = &self.cacert {
            config.tls = Some(Tls::from_files(ca, self.cert.as_deref(), self.key.as_deref())?);
        }
        Ok(Session { client: Client::new(config.clone())?, config })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..split].parse().map_err(|_| format!("`{text}` is not a duration such as 5s"))?;
    let seconds = match &text[split..] {
        "s" | "" => number,
        "ms" => number / 1000.0,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        unit => return Err(format!("`{unit}` is not a unit of time: use ms, s, m or h")),
    };
    Ok(Duration::from_secs_f64(seconds))
}

/// A lease or member id, in hexadecimal as it is printed.
pub(crate) fn id(text: &str) -> Result<u64, Failure> {
    u64::from_str_radix(text, 16).map_err(|_| format!("bad ID arg ({text}): not a hexadecimal number").into())
}
