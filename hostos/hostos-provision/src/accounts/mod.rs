//! Users and groups of the target, changed as `useradd`, `usermod` and `groupadd` would change them.
//!
//! The text of the four account files comes in and leaves as text; homes are made by
//! [`homes`](crate::homes). There is no NSS here: only the target's own files count.

mod defaults;
mod groups;
mod table;
mod users;

use std::io;

pub(crate) use defaults::Defaults;
use table::Table;
pub(crate) use users::NewHome;

use crate::root::{Access, Root};

const FILES: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"];

/// The account files of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accounts {
    passwd: Table,
    group: Table,
    shadow: Table,
    gshadow: Table,
    pub(crate) defaults: Defaults,
    /// Days since 1970, for the last change of a password.
    today: u64,
}

/// A user as `/etc/passwd` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
}

/// Why a user or group cannot be as the config wants it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccountError {
    /// A name that the account files cannot hold.
    #[error("`{0}` cannot be the name of a user or group: use letters, digits, `-`, `_` and `.`")]
    BadName(String),
    /// A field with a colon or a line break.
    #[error("{what} of `{name}` holds a colon or a line break, which the account files cannot hold")]
    BadField {
        /// Whose.
        name: String,
        /// Which.
        what: &'static str,
    },
    /// A number outside of 0 to 2^32 - 2.
    #[error("{id} cannot be the number of `{name}`")]
    BadId {
        /// Whose.
        name: String,
        /// Which.
        id: i64,
    },
    /// A number that somebody else has.
    #[error("the number {id} wanted for `{name}` belongs to `{other}`")]
    IdTaken {
        /// Who wants it.
        name: String,
        /// Which.
        id: u32,
        /// Who has it.
        other: String,
    },
    /// No number is left.
    #[error("no number is left for `{0}` in the range of the target's /etc/login.defs")]
    NoIdLeft(String),
    /// A group that is not there.
    #[error("there is no group `{group}`, which `{name}` wants")]
    NoGroup {
        /// Who wants it.
        name: String,
        /// Which.
        group: String,
    },
    /// A group cannot go while it is somebody's primary one.
    #[error("group `{group}` cannot be removed: it is the primary group of user `{user}`")]
    GroupInUse {
        /// Which.
        group: String,
        /// Whose.
        user: String,
    },
    /// A user that is not there.
    #[error("there is no user `{0}` in the target")]
    NoUser(String),
    /// A home that is no absolute path.
    #[error("the home directory `{home}` of `{name}` is no absolute path")]
    BadHome {
        /// Whose.
        name: String,
        /// Which.
        home: String,
    },
}

impl Accounts {
    /// Reads the files of a target; a missing one is empty.
    pub(crate) fn read(root: &Root, today: u64) -> io::Result<Self> {
        let text = |path: &str| Ok::<_, io::Error>(root.read(path)?.unwrap_or_default());
        let string = |path: &str| Ok::<_, io::Error>(String::from_utf8_lossy(&text(path)?).into_owned());
        Ok(Self {
            passwd: Table::parse(&text(FILES[0])?),
            group: Table::parse(&text(FILES[1])?),
            shadow: Table::parse(&text(FILES[2])?),
            gshadow: Table::parse(&text(FILES[3])?),
            defaults: Defaults::parse(&string("/etc/login.defs")?, &string("/etc/default/useradd")?),
            today,
        })
    }

    /// Writes the files that differ from what the target holds, keeping owner and mode.
    pub(crate) fn write(&self, root: &Root) -> io::Result<()> {
        let tables = [&self.passwd, &self.group, &self.shadow, &self.gshadow];
        for (path, table) in FILES.into_iter().zip(tables) {
            let text = table.render();
            if root.read(path)?.unwrap_or_default() == text.as_bytes() {
                continue;
            }
            let secret = path.ends_with("shadow");
            let fresh = Access { uid: 0, gid: 0, mode: if secret { 0o600 } else { 0o644 } };
            let place = root.place(path)?;
            let access = place.access()?.unwrap_or(fresh);
            place.write(access, |file| io::Write::write_all(file, text.as_bytes()))?;
        }
        Ok(())
    }

    /// The user of that name.
    pub(crate) fn user(&self, name: &str) -> Option<User> {
        let line = self.passwd.line(name)?;
        Some(User {
            name: name.into(),
            uid: line.number(2)?,
            gid: line.number(3)?,
            home: line.field(5).into(),
        })
    }

    /// The number of the group of that name.
    pub(crate) fn group_id(&self, name: &str) -> Option<u32> {
        self.group.line(name)?.number(2)
    }
}

fn check_name(name: &str) -> Result<(), AccountError> {
    let good =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.' | '$');
    let fits = !name.is_empty() && name.len() <= 32 && !name.starts_with('-') && name.chars().all(good);
    if fits && !name.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(())
    } else {
        Err(AccountError::BadName(name.into()))
    }
}

fn check_field(name: &str, what: &'static str, value: Option<&str>) -> Result<(), AccountError> {
    match value {
        Some(value) if value.contains([':', '\n']) => Err(AccountError::BadField { name: name.into(), what }),
        _ => Ok(()),
    }
}

fn check_id(name: &str, id: i64) -> Result<u32, AccountError> {
    u32::try_from(id)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| AccountError::BadId { name: name.into(), id })
}

/// The next number of a range: one above the highest in use, else the lowest gap; for system accounts
/// the highest gap.
fn next_id(
    range: &std::ops::RangeInclusive<u32>,
    system: bool,
    taken: &std::collections::BTreeSet<u32>,
) -> Option<u32> {
    if system {
        return range.clone().rev().find(|id| !taken.contains(id));
    }
    let highest = taken.range(range.clone()).next_back().copied();
    match highest {
        None => Some(*range.start()).filter(|_| !range.is_empty()),
        Some(highest) if highest < *range.end() => Some(highest + 1),
        Some(_) => range.clone().find(|id| !taken.contains(id)),
    }
}
