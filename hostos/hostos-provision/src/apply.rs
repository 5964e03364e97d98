//! From a config to a root that is as the config says, or an error and nothing claimed.
//!
//! First everything is fetched and verified; only then is the root written. The record at
//! [`RESULT_FILE`] is written last, after everything else is on the disk, so its presence means success.
//! A run that was interrupted can be repeated.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hostos_config::{Config, KernelArguments, Rejected, unsupported};

use crate::accounts::{AccountError, Accounts};
use crate::disks::{self, DiskError};
use crate::fetch::{FetchError, Fetcher};
use crate::nodes::{NodeError, Writer};
use crate::prepare::{self, PrepareError};
use crate::root::{Access, Root};
use crate::{homes, units};

/// Where a finished run leaves its record.
pub const RESULT_FILE: &str = "/etc/.ignition-result.json";

const SECONDS_A_DAY: u64 = 86_400;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many files, directories and links are as the config says.
    pub nodes: usize,
    /// How many units.
    pub units: usize,
    /// Names of the users of the config.
    pub users: Vec<String>,
}

/// Why a root is not as the config says.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Something that machines of this release cannot do; nothing was written.
    #[error(transparent)]
    Unsupported(Rejected),
    /// The kernel was started with other arguments; nothing was written.
    #[error(
        "the config wants other kernelArguments than this kernel runs with; start the machine with `{wanted}`"
    )]
    KernelArguments {
        /// The whole command line that would be right.
        wanted: String,
        /// What the config says of it.
        arguments: Box<KernelArguments>,
    },
    /// The disks.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An authority that cannot be had; nothing was written.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Content that is not to be had; nothing was written.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A user or group; nothing was written.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A file, directory, link or unit.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Something of the target that is no node of the config.
    #[error("cannot {what}")]
    Target {
        /// What was attempted.
        what: String,
        /// Why it did not work.
        #[source]
        source: io::Error,
    },
}

/// Makes the root as the config says. The config must be whole, its parents merged.
///
/// Blocks while it fetches; it needs no async runtime and may be called from inside one's blocking pool.
///
/// # Errors
/// The first thing that cannot be done.
pub fn apply(config: &Config, root: &Root) -> Result<Report, ApplyError> {
    let refused = unsupported(config);
    if !refused.is_empty() {
        return Err(ApplyError::Unsupported(Rejected { diagnostics: refused }));
    }
    if root.path() == Path::new("/") {
        let running = std::fs::read_to_string("/proc/cmdline").map_err(target("read /proc/cmdline"))?;
        check_kernel_arguments(config, &running)?;
    }
    let fetcher = Fetcher::new(config)?;
    let contents = prepare::contents(config, &fetcher)?;
    let mut accounts = Accounts::read(root, days_since_1970()).map_err(target("read the account files"))?;
    for group in &config.passwd.groups {
        accounts.ensure_group(group)?;
    }
    let mut new_homes = Vec::new();
    for user in &config.passwd.users {
        new_homes.extend(accounts.ensure_user(user)?);
    }
    let storage = &config.storage;
    Writer { root, accounts: &accounts }.check_owners(storage)?;
    let disk_plan = disks::plan(storage)?;
    // From here on the disks and the root are written.
    disks::write(disk_plan, storage)?;
    let mounts = disks::mount(storage, root.path())?;
    for home in &new_homes {
        homes::settle(root, &accounts, home).map_err(target("make the home directories"))?;
    }
    accounts.write(root).map_err(target("write the account files"))?;
    for user in &config.passwd.users {
        let what = format!("write the ssh keys of `{}`", user.name);
        homes::authorize(root, &accounts, user).map_err(target(what))?;
    }
    let writer = Writer { root, accounts: &accounts };
    writer.write_all(&storage.directories, &storage.files, &contents, &storage.links)?;
    units::write_all(root, &config.systemd)?;
    root.sync().map_err(target("write to the disk"))?;
    root.let_go();
    mounts.close().map_err(target("unmount the filesystems"))?;
    record(root).map_err(target(format!("write {RESULT_FILE}")))?;
    Ok(Report {
        nodes: storage.directories.len() + storage.files.len() + storage.links.len(),
        units: config.systemd.units.len(),
        users: config.passwd.users.iter().map(|user| user.name.clone()).collect(),
    })
}

/// Whether a kernel that runs with these arguments is the one the config wants. Nothing in a machine can
/// change them: they come from whoever starts it.
///
/// # Errors
/// The arguments that it should be started with.
pub fn check_kernel_arguments(config: &Config, running: &str) -> Result<(), ApplyError> {
    match config.kernel_arguments.change(running) {
        None => Ok(()),
        Some(wanted) => {
            let arguments = Box::new(config.kernel_arguments.clone());
            Err(ApplyError::KernelArguments { wanted, arguments })
        }
    }
}

/// Notes that the run is done. All that it wrote is safe already, so a power cut leaves either no record,
/// and the run is repeated, or a record of a whole one.
fn record(root: &Root) -> io::Result<()> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let record = serde_json::json!({
        "provisioningBootID": boot_id.trim(),
        "provisioningUnixSeconds": unix_seconds(),
    });
    let text = format!("{record:#}\n");
    let access = Access { uid: 0, gid: 0, mode: 0o600 };
    root.place(RESULT_FILE)?.write(access, |file| io::Write::write_all(file, text.as_bytes()))?;
    root.sync()
}

fn target(what: impl Into<String>) -> impl FnOnce(io::Error) -> ApplyError {
    let what = what.into();
    move |source| ApplyError::Target { what, source }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn days_since_1970() -> u64 {
    unix_seconds() / SECONDS_A_DAY
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use hostos_config::{File, Link, PasswdUser, Unit};

    use super::*;

    #[test]
    fn a_kernel_with_other_arguments_is_named() {
        let mut config = Config::default();
        config.kernel_arguments.should_exist.push("nosmt".into());
        assert!(check_kernel_arguments(&config, "quiet nosmt").is_ok());
        let error = check_kernel_arguments(&config, "quiet").expect_err("it lacks one");
        assert!(error.to_string().ends_with("start the machine with `quiet nosmt`"), "{error}");
    }

    #[test]
    fn a_small_config_is_written_and_a_rerun_changes_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = Root::open(directory.path()).expect("it exists");
        let mut config = Config::default();
        config.storage.files.push(File::inline("/etc/hostname", 0o644, "web-1\n"));
        config.storage.links.push(Link::symbolic("/etc/localtime", "../usr/share/zoneinfo/UTC"));
        config.systemd.units.push(
            Unit::enabled("a.service", "[Service]\nExecStart=/bin/true\n").dropin("1.conf", "[Unit]\n"),
        );
        config.passwd.users.push(PasswdUser::with_keys("core", ["ssh-ed25519 AAAA core"]));
        let json = config.to_json();
        let (config, _) = hostos_config::parse(json.as_bytes(), "test").expect("what we write, we read");
        for _ in 0..2 {
            apply(&config, &root).expect("it applies");
            let read = |path: &str| std::fs::read_to_string(directory.path().join(path)).expect(path);
            assert_eq!(read("etc/hostname"), "web-1\n");
            assert_eq!(read("etc/systemd/system/a.service"), "[Service]\nExecStart=/bin/true\n");
            assert_eq!(read("etc/systemd/system/a.service.d/1.conf"), "[Unit]\n");
            assert_eq!(read("etc/systemd/system-preset/20-ignition.preset"), "enable a.service\n");
            assert_eq!(read("home/core/.ssh/authorized_keys.d/ignition"), "ssh-ed25519 AAAA core\n");
            assert_eq!(read("etc/passwd"), "core:x:1000:1000::/home/core:/bin/bash\n");
            let shadow = directory.path().join("etc/shadow");
            let mode = shadow.metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(read(".//etc/.ignition-result.json").contains("provisioningUnixSeconds"));
        }
    }
}
