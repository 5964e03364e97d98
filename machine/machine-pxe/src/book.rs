//! What is known of machines that boot from the network: who may, how far each came, and the one-time
//! secrets. The book is a file that server and commands change in turns; time and randomness come in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::Mac;

/// Seconds from the script to the config: a kernel and an initramfs are loaded in between.
const SECRET_LIFE: u64 = 600;
/// Machines that nobody approved are forgotten when there are more.
const MOST: usize = 4096;

/// Everybody who asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// By hardware address.
    pub machines: BTreeMap<Mac, Known>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its hardware address.
    pub mac: Mac,
    /// Its firmware's identity.
    pub uuid: Option<Uuid>,
    /// What it is to be called.
    pub name: Option<String>,
    /// Whether it may boot.
    pub approval: Approval,
    /// How far it came.
    pub progress: Progress,
    /// The address it was given.
    pub address: Option<Ipv4Addr>,
    /// When it was last heard of, in seconds since 1970.
    pub seen: u64,
    /// What it did then.
    pub did: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
}

/// Whether a machine may boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// It may not.
    No,
    /// The next time.
    Once,
    /// Always.
    Always,
}

/// How far a machine came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// It asked and waits for approval.
    Discovered,
    /// It may boot.
    Approved,
    /// It was told what to load.
    Loading,
    /// It has its config.
    Configured,
    /// The cluster sees it.
    Joined,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Secret {
    sha256: String,
    until: u64,
}

/// Why a machine is not given its config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody approved it.
    #[error("this machine is not approved")]
    Unapproved,
    /// It is another machine than the one that was heard of.
    #[error("this is another machine")]
    Foreign,
    /// The secret was used, ran out, or never was.
    #[error("this secret was used already, or is too old")]
    Spent,
}

impl Book {
    /// Reads the book, lets `work` change it, and writes it, while nobody else does.
    ///
    /// # Errors
    /// The file cannot be read, locked or written.
    pub fn update<T>(path: &Path, work: impl FnOnce(&mut Self) -> T) -> io::Result<T> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.with_extension("lock"))?;
        lock.lock()?;
        let mut book = Self::read(path)?;
        let before = book.clone();
        let done = work(&mut book);
        if book != before {
            let beside = path.with_extension("new");
            fs::write(&beside, serde_json::to_vec_pretty(&book)?)?;
            fs::rename(&beside, path)?;
        }
        Ok(done)
    }

    /// The book as it is.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Takes notice of a machine that asks.
    pub fn hear(&mut self, mac: Mac, uuid: Option<Uuid>, now: u64) -> &mut Known {
        if self.machines.len() >= MOST && !self.machines.contains_key(&mac) {
            self.machines.retain(|_, known| known.approval != Approval::No);
        }
        let known = self.machines.entry(mac).or_insert_with(|| Known::new(mac));
        known.seen = now;
        known.uuid = known.uuid.or(uuid);
        known
    }

    /// Lets a machine boot, whether it was heard of or not.
    pub fn approve(&mut self, mac: Mac, name: Option<String>, approval: Approval) {
        let known = self.machines.entry(mac).or_insert_with(|| Known::new(mac));
        known.approval = approval;
        known.name = name.or(known.name.take());
        if known.progress == Progress::Discovered {
            known.progress = Progress::Approved;
        }
    }

    /// Gives a machine that may boot a new secret, and takes back the one before.
    ///
    /// # Errors
    /// It may not, or it is another one than was heard of under that address.
    pub fn give_secret(
        &mut self,
        mac: Mac,
        uuid: Option<Uuid>,
        random: [u8; 16],
        now: u64,
    ) -> Result<String, Refused> {
        let known = self.machines.get_mut(&mac).ok_or(Refused::Unapproved)?;
        if known.approval == Approval::No {
            return Err(Refused::Unapproved);
        }
        if uuid.is_some() && known.uuid.is_some() && uuid != known.uuid {
            return Err(Refused::Foreign);
        }
        known.uuid = known.uuid.or(uuid);
        let secret = hex::encode(random);
        known.secret = Some(Secret { sha256: digest(&secret), until: now + SECRET_LIFE });
        known.did(Progress::Loading, "was told what to load", now);
        Ok(secret)
    }

    /// The machine whose secret this is, which stays good.
    ///
    /// # Errors
    /// It is nobody's.
    pub fn owner(&self, secret: &str, now: u64) -> Result<&Known, Refused> {
        let digest = digest(secret);
        let is_it = |known: &&Known| {
            known.secret.as_ref().is_some_and(|kept| kept.sha256 == digest && kept.until > now)
        };
        self.machines.values().find(is_it).ok_or(Refused::Spent)
    }

    /// Takes a secret for good; its machine gets its config this once.
    ///
    /// # Errors
    /// It is nobody's any more.
    pub fn spend(&mut self, secret: &str, now: u64) -> Result<Known, Refused> {
        let mac = self.owner(secret, now)?.mac;
        let known = self.machines.get_mut(&mac).ok_or(Refused::Spent)?;
        known.secret = None;
        if known.approval == Approval::Once {
            known.approval = Approval::No;
        }
        known.did(Progress::Configured, "has its config", now);
        Ok(known.clone())
    }
}

impl Known {
    fn new(mac: Mac) -> Self {
        Self {
            mac,
            uuid: None,
            name: None,
            approval: Approval::No,
            progress: Progress::Discovered,
            address: None,
            seen: 0,
            did: "asked".into(),
            secret: None,
        }
    }

    /// What fleet and the journal call it.
    #[must_use]
    pub fn machine_id(&self) -> Uuid {
        self.uuid.filter(|uuid| !uuid.is_nil()).unwrap_or_else(|| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&Sha256::digest(self.mac.0)[..16]);
            Uuid::from_bytes(bytes)
        })
    }

    /// Notes that it came so far.
    pub fn did(&mut self, progress: Progress, what: &str, now: u64) {
        self.progress = progress;
        self.did = what.to_owned();
        self.seen = now;
    }
}

fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn an_unknown_machine_is_noted_and_not_served() {
        let mut book = Book::default();
        assert_eq!(book.hear(MAC, None, 5).progress, Progress::Discovered);
        assert_eq!(book.give_secret(MAC, None, [1; 16], 6), Err(Refused::Unapproved));
    }

    #[test]
    fn a_secret_works_once_and_not_for_long() {
        let mut book = Book::default();
        let uuid = Some(Uuid::from_u128(7));
        book.hear(MAC, uuid, 0);
        book.approve(MAC, Some("metal1".into()), Approval::Always);
        let first = book.give_secret(MAC, uuid, [1; 16], 0).expect("approved");
        let second = book.give_secret(MAC, uuid, [2; 16], 0).expect("firmware asks twice");
        assert_eq!(book.spend(&first, 1).map(|known| known.mac), Err(Refused::Spent), "taken back");
        assert_eq!(book.spend(&second, 1).expect("good").name.as_deref(), Some("metal1"));
        assert_eq!(book.spend(&second, 1), Err(Refused::Spent), "used");
        let third = book.give_secret(MAC, uuid, [3; 16], 10).expect("it boots again");
        assert_eq!(book.spend(&third, 10 + SECRET_LIFE), Err(Refused::Spent), "too old");
        assert_eq!(book.give_secret(MAC, Some(Uuid::from_u128(8)), [4; 16], 0), Err(Refused::Foreign));
    }

    #[test]
    fn an_approval_for_once_is_used_up() {
        let mut book = Book::default();
        book.approve(MAC, None, Approval::Once);
        let secret = book.give_secret(MAC, None, [1; 16], 0).expect("approved");
        book.spend(&secret, 1).expect("good");
        assert_eq!(book.give_secret(MAC, None, [2; 16], 2), Err(Refused::Unapproved));
    }

    #[test]
    fn the_book_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pxe.json");
        Book::update(&path, |book| book.approve(MAC, None, Approval::Once)).expect("written");
        let read = Book::read(&path).expect("read");
        assert_eq!(read.machines[&MAC].approval, Approval::Once);
    }
}
