//! A DHCP lease, and the directory that keeps it over restarts and reboots.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a DHCP server granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// Default route, if there is one.
    pub router: Option<Ipv4Addr>,
    /// Name servers in the server's order.
    pub dns: Vec<Ipv4Addr>,
    /// Search domain.
    pub domain: Option<String>,
    /// Name that the server gives the machine.
    pub hostname: Option<String>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Largest packet of the network.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// Who granted it.
    pub server: Ipv4Addr,
    /// When, in seconds since 1970 by the machine's clock.
    #[serde(default)]
    pub granted: u64,
    /// For how long, from the moment it was granted.
    pub duration: Duration,
    /// Ask again after this long.
    pub renew_after: Duration,
    /// Ask anyone after this long.
    pub rebind_after: Duration,
}

impl Lease {
    /// Whether it still holds at `now`, in seconds since 1970. A clock that went back since makes no
    /// lease longer than it is, so that is no reason to give the address up.
    #[must_use]
    pub fn holds_at(&self, now: u64) -> bool {
        now.saturating_sub(self.granted) < self.duration.as_secs()
    }

    /// How old it is at `now`, in seconds since 1970.
    #[must_use]
    pub fn age_at(&self, now: u64) -> Duration {
        Duration::from_secs(now.saturating_sub(self.granted))
    }
}

/// Keeps the last lease of each link in one directory, as `LINK.json`.
#[derive(Clone, Debug)]
pub struct LeaseStore {
    dir: PathBuf,
}

impl LeaseStore {
    /// Keeps leases in `dir`, which is made when the first one is saved.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The last lease of the link `name`; a file that does not read counts as none.
    #[must_use]
    pub fn load(&self, name: &str) -> Option<Lease> {
        serde_json::from_slice(&fs::read(self.path(name)).ok()?).ok()
    }

    /// Remembers `lease`, whole or not at all.
    pub fn save(&self, name: &str, lease: &Lease) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let fresh = self.dir.join(format!(".{name}.new"));
        let mut file = fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(lease)?)?;
        file.sync_all()?;
        fs::rename(fresh, self.path(name))?;
        fs::File::open(&self.dir)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }
}
