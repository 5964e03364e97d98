//! The definition of the command line: fleetctl's commands and flags, and ours.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Below the help, as fleetctl's hands and scripts find it there.
const VERSION: &str = concat!("Version: ", env!("CARGO_PKG_VERSION"));

/// Run units on a cluster of machines
#[derive(Parser)]
#[command(name = "fleetctl", version, disable_help_subcommand = false, after_help = VERSION)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Args)]
pub(crate) struct Global {
    /// Where fleetd listens: unix:///path or https://host:port
    #[arg(long, env = "FLEETCTL_ENDPOINT", default_value = "unix:///run/fleet.sock", global = true)]
    pub(crate) endpoint: String,
    /// Key file of the TLS client certificate
    #[arg(long, env = "FLEETCTL_KEY_FILE", value_name = "FILE", global = true)]
    pub(crate) key_file: Option<String>,
    /// TLS client certificate
    #[arg(long, env = "FLEETCTL_CERT_FILE", value_name = "FILE", global = true)]
    pub(crate) cert_file: Option<String>,
    /// CA that the server's certificate must be of
    #[arg(long, env = "FLEETCTL_CA_FILE", value_name = "FILE", global = true)]
    pub(crate) ca_file: Option<String>,
    /// Reach fleetd through ssh on this host
    #[arg(long, env = "FLEETCTL_TUNNEL", value_name = "HOST[:PORT]", global = true)]
    pub(crate) tunnel: Option<String>,
    /// User of ssh connections
    #[arg(long, env = "FLEETCTL_SSH_USERNAME", default_value = "core", value_name = "USER", global = true)]
    pub(crate) ssh_username: String,
    /// Seconds to wait for an ssh connection
    #[arg(long, env = "FLEETCTL_SSH_TIMEOUT", default_value = "10", value_name = "SECONDS", global = true)]
    pub(crate) ssh_timeout: f64,
    /// Refuse hosts whose ssh key is not known
    #[arg(long, env = "FLEETCTL_STRICT_HOST_KEY_CHECKING", default_value = "true", value_name = "BOOL",
          action = clap::ArgAction::Set, global = true)]
    pub(crate) strict_host_key_checking: bool,
    /// File of known ssh host keys
    #[arg(long, env = "FLEETCTL_KNOWN_HOSTS_FILE", value_name = "FILE", global = true)]
    pub(crate) known_hosts_file: Option<String>,
    /// Seconds to wait for an answer
    #[arg(
        long,
        env = "FLEETCTL_REQUEST_TIMEOUT",
        default_value = "3",
        value_name = "SECONDS",
        global = true
    )]
    pub(crate) request_timeout: f64,
    /// How to print tables
    #[arg(long, value_enum, default_value_t = Format::Table, global = true)]
    pub(crate) format: Format,
    /// Kept for old scripts: the API is always used
    #[arg(long, env = "FLEETCTL_DRIVER", default_value = "API", hide = true, global = true)]
    pub(crate) driver: String,
    /// Kept for old scripts: fleetd knows its prefix
    #[arg(long, env = "FLEETCTL_ETCD_KEY_PREFIX", hide = true, global = true)]
    pub(crate) etcd_key_prefix: Option<String>,
    /// Kept for old scripts: the API is no experiment
    #[arg(long, hide = true, global = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) experimental_api: Option<String>,
    /// Kept for old scripts: of the driver that spoke to etcd itself
    #[arg(long, env = "FLEETCTL_ETCD_KEYFILE", hide = true, global = true)]
    pub(crate) etcd_keyfile: Option<String>,
    /// Kept for old scripts: see there
    #[arg(long, env = "FLEETCTL_ETCD_CERTFILE", hide = true, global = true)]
    pub(crate) etcd_certfile: Option<String>,
    /// Kept for old scripts: see there
    #[arg(long, env = "FLEETCTL_ETCD_CAFILE", hide = true, global = true)]
    pub(crate) etcd_cafile: Option<String>,
    /// Tell what is asked of fleetd
    #[arg(long, env = "FLEETCTL_DEBUG", global = true)]
    pub(crate) debug: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// JSON for programs
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Print the content of a submitted unit
    Cat(OneUnit),
    /// Remove units from the cluster, stopping them
    Destroy(Units),
    /// Move all units off a machine and give it none
    Drain(OneMachine),
    /// Let a machine have units again
    Undrain(OneMachine),
    /// Tell what happens in the cluster
    Events(EventsArgs),
    /// Connect standard input and output to a unix socket
    FdForward(Socket),
    /// Begin a cluster: make its authority and this machine's certificate
    Init(InitArgs),
    /// Make this machine a member of a cluster
    Join(JoinArgs),
    /// Print the journal of a unit, wherever it runs
    Journal(JournalArgs),
    /// Move this machine's units away and take it out of the cluster
    Leave(LeaveArgs),
    /// List the machines of the cluster
    ListMachines(ListArgs),
    /// List the machines that were let in, with their certificates
    ListMembers,
    /// List the units that were submitted
    ListUnitFiles(ListArgs),
    /// List the state of units on their machines
    ListUnits(ListArgs),
    /// Give units to machines without starting them
    Load(SubmittingUnits),
    /// Take a lost machine out of the cluster
    Remove(RemoveArgs),
    /// Stop and start units, one at a time
    Restart(Units),
    /// Run this many instances of a template
    Scale(ScaleArgs),
    /// Open a shell or run a command on a machine
    Ssh(SshArgs),
    /// Start units, submitting them first if need be
    Start(SubmittingUnits),
    /// Print the status of units from their machines
    Status(StatusArgs),
    /// Stop units; they stay on their machines
    Stop(Units),
    /// Store units in the cluster without running them
    Submit(SubmittingUnits),
    /// Print the token that lets machines in
    Token(TokenArgs),
    /// Take units off their machines; they stay in the cluster
    Unload(Units),
    /// Check unit files without submitting them
    Verify(Files),
    /// Print the version
    Version,
    /// Tell why a unit is where it is, or nowhere
    Why(OneUnit),
}

#[derive(Args)]
pub(crate) struct OneUnit {
    /// Name of the unit
    pub(crate) unit: String,
}

#[derive(Args)]
pub(crate) struct OneMachine {
    /// Id of the machine, or its beginning
    pub(crate) machine: String,
}

#[derive(Args)]
pub(crate) struct Socket {
    /// Path of the socket
    pub(crate) socket: String,
}

#[derive(Args)]
pub(crate) struct Files {
    /// Unit files
    #[arg(required = true)]
    pub(crate) files: Vec<String>,
}

#[derive(Args, Clone, Copy)]
pub(crate) struct Blocking {
    /// Do not wait until it is so
    #[arg(long)]
    pub(crate) no_block: bool,
    /// Look this often before giving up; 0 is without end
    #[arg(long, default_value = "0", value_name = "N")]
    pub(crate) block_attempts: u32,
    /// Give up waiting after this many seconds; 0 is without end
    #[arg(long, default_value = "0", value_name = "SECONDS")]
    pub(crate) wait: u64,
}

#[derive(Args)]
pub(crate) struct Units {
    /// Names of units
    pub(crate) units: Vec<String>,
    #[command(flatten)]
    pub(crate) blocking: Blocking,
}

#[derive(Args)]
pub(crate) struct SubmittingUnits {
    /// Unit files, or names of units
    pub(crate) units: Vec<String>,
    /// Put another content in place of what was submitted
    #[arg(long)]
    pub(crate) replace: bool,
    /// Kept for old scripts: nothing is signed
    #[arg(long, hide = true)]
    pub(crate) sign: bool,
    #[command(flatten)]
    pub(crate) blocking: Blocking,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Do not shorten ids
    #[arg(short = 'l', long)]
    pub(crate) full: bool,
    /// Do not print the line of headings
    #[arg(long)]
    pub(crate) no_legend: bool,
    /// Columns, separated by commas
    #[arg(long, value_name = "NAMES")]
    pub(crate) fields: Option<String>,
    /// Print no more rows than these; 0 is all
    #[arg(long, default_value = "0", value_name = "N")]
    pub(crate) max_print_units: usize,
}

#[derive(Args)]
pub(crate) struct JournalArgs {
    /// Name of the unit
    pub(crate) unit: String,
    /// How many lines
    #[arg(long, default_value = "10", value_name = "N")]
    pub(crate) lines: u32,
    /// Go on as the unit goes on
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Form of the lines, as journalctl knows them
    #[arg(long, default_value = "short", value_name = "FORM")]
    pub(crate) output: String,
    /// Machine, for units that run on several
    #[arg(long, value_name = "ID")]
    pub(crate) machine: Option<String>,
    /// Kept for old scripts: the journal comes through the API
    #[arg(long, hide = true)]
    pub(crate) sudo: bool,
    /// Kept for old scripts: the journal comes through the API
    #[arg(long, hide = true)]
    pub(crate) ssh_port: Option<u16>,
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    /// Names of units
    #[arg(required = true)]
    pub(crate) units: Vec<String>,
    /// Kept for old scripts: the status comes through the API
    #[arg(long, hide = true)]
    pub(crate) ssh_port: Option<u16>,
}

#[derive(Args)]
pub(crate) struct EventsArgs {
    /// Go on until interrupted
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
}

#[derive(Args)]
pub(crate) struct ScaleArgs {
    /// The template, `name@` or `name@.service`
    pub(crate) template: String,
    /// How many instances are to run
    pub(crate) instances: u32,
}

#[derive(Args)]
pub(crate) struct SshArgs {
    /// A machine's id (or its beginning) or a unit's name, then a command
    #[arg(trailing_var_arg = true)]
    pub(crate) target: Vec<String>,
    /// Take the target for a machine
    #[arg(long, value_name = "ID")]
    pub(crate) machine: Option<String>,
    /// Take the target for a unit
    #[arg(long, value_name = "NAME")]
    pub(crate) unit: Option<String>,
    /// Forward the ssh agent
    #[arg(short = 'A', long)]
    pub(crate) forward_agent: bool,
    /// Port of ssh on the machine
    #[arg(long, default_value = "22", value_name = "PORT")]
    pub(crate) ssh_port: u16,
}

/// Where a member's certificates are.
const IDENTITY_DIR: &str = "/var/lib/fleet/tls";

#[derive(Args)]
pub(crate) struct InitArgs {
    /// Name of the cluster
    #[arg(long, default_value = "cluster", value_name = "NAME")]
    pub(crate) cluster: String,
    /// Where to keep the certificates
    #[arg(long, default_value = IDENTITY_DIR, value_name = "DIR")]
    pub(crate) dir: std::path::PathBuf,
    /// Id of this machine instead of the one in /etc/machine-id
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Name or address of this machine, for its certificate; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
}

#[derive(Args)]
pub(crate) struct JoinArgs {
    /// The token, from `fleetctl token` on a manager
    #[arg(long, env = "FLEETCTL_JOIN_TOKEN", hide_env_values = true)]
    pub(crate) token: String,
    /// Members to ask, in this order
    #[arg(required = true, value_name = "HOST:PORT")]
    pub(crate) members: Vec<String>,
    /// Where to keep the certificates
    #[arg(long, default_value = IDENTITY_DIR, value_name = "DIR")]
    pub(crate) dir: std::path::PathBuf,
    /// Id of this machine instead of the one in /etc/machine-id
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Name or address of this machine, for its certificate; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// Give up after this many seconds
    #[arg(long, default_value = "30", value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// Go on asking until then when no member answers
    #[arg(long)]
    pub(crate) keep_asking: bool,
}

#[derive(Args)]
pub(crate) struct LeaveArgs {
    /// Where the certificates are; they are removed
    #[arg(long, default_value = IDENTITY_DIR, value_name = "DIR")]
    pub(crate) dir: std::path::PathBuf,
    /// Id of the machine instead of the one in its certificate
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Give up after this many seconds, and stay
    #[arg(long, default_value = "120", value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Args)]
pub(crate) struct RemoveArgs {
    /// Id of the machine; the whole id if it is lost
    pub(crate) machine: String,
    /// Even if it is alive
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// Whom it lets in: worker or manager
    #[arg(default_value = "worker")]
    pub(crate) role: String,
    /// Make a new one; the old one is no longer valid
    #[arg(long)]
    pub(crate) rotate: bool,
    /// How long the new one is valid, for example 24h; for ever by default
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
}
