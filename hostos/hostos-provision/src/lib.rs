//! Applies an Ignition config to a root: content is fetched and verified first, then disks, users, groups,
//! files, directories, links, units and presets are written.
//!
//! The target is any directory, so the same code provisions a machine from its first process and an
//! image in a build. What a config means is decided in `hostos-config`; starting units is the
//! supervisor's work.

mod accounts;
mod apply;
mod cli;
mod disks;
mod fetch;
mod filesystem;
mod homes;
mod load;
mod nodes;
mod offline;
mod prepare;
mod root;
mod sources;
mod units;

pub use accounts::AccountError;
pub use apply::{ApplyError, RESULT_FILE, Report, apply, check_kernel_arguments};
pub use cli::{command, run};
pub use disks::DiskError;
pub use fetch::{AuthorityError, FetchError, Fetcher, HttpError, TftpError, UnpackError};
pub use filesystem::{FilesystemError, Format, Found, Marks, make_filesystem, probe};
pub use load::{LoadError, Loaded, load};
pub use nodes::NodeError;
pub use offline::{needs_network, source_needs_network};
pub use prepare::PrepareError;
pub use root::Root;
pub use sources::{Source, SourceError, find_source, from_command_line, from_config_drive, from_fw_cfg};
