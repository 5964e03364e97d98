//! Groups, as `groupadd`, `groupmod` and `groupdel` change them.

use std::collections::BTreeSet;

use hostos_config::PasswdGroup;

use super::{AccountError, Accounts, check_field, check_id, check_name, next_id};

impl Accounts {
    /// Makes the group as the config wants it.
    pub(crate) fn ensure_group(&mut self, wanted: &PasswdGroup) -> Result<(), AccountError> {
        let name = &wanted.name;
        if wanted.should_exist == Some(false) {
            return self.remove_group(name);
        }
        check_field(name, "the password hash", wanted.password_hash.as_deref())?;
        let gid = wanted.gid.map(|gid| check_id(name, gid)).transpose()?;
        if let Some(gid) = gid {
            self.refuse_taken_gid(name, gid)?;
        }
        if self.group_id(name).is_some() {
            if let Some(gid) = gid {
                self.group.set(name, 2, gid.to_string());
            }
            if let Some(hash) = &wanted.password_hash {
                self.gshadow.set(name, 1, locked_if_empty(hash));
            }
            return Ok(());
        }
        check_name(name)?;
        let gid = match gid {
            Some(gid) => gid,
            None => self.free_gid(name, wanted.system.unwrap_or_default())?,
        };
        self.add_group(name, gid, &locked_if_empty(wanted.password_hash.as_deref().unwrap_or_default()));
        Ok(())
    }

    pub(super) fn add_group(&mut self, name: &str, gid: u32, password: &str) {
        self.group.add([name.into(), "x".into(), gid.to_string(), String::new()]);
        self.gshadow.remove(name);
        self.gshadow.add([name.into(), password.into(), String::new(), String::new()]);
    }

    fn remove_group(&mut self, name: &str) -> Result<(), AccountError> {
        let Some(gid) = self.group_id(name) else { return Ok(()) };
        if let Some(user) = self.passwd.lines().find(|line| line.number(3) == Some(gid)) {
            return Err(AccountError::GroupInUse { group: name.into(), user: user.name().into() });
        }
        self.group.remove(name);
        self.gshadow.remove(name);
        Ok(())
    }

    fn refuse_taken_gid(&self, name: &str, gid: u32) -> Result<(), AccountError> {
        match self.group.lines().find(|line| line.number(2) == Some(gid) && line.name() != name) {
            Some(other) => {
                Err(AccountError::IdTaken { name: name.into(), id: gid, other: other.name().into() })
            }
            None => Ok(()),
        }
    }

    pub(super) fn free_gid(&self, name: &str, system: bool) -> Result<u32, AccountError> {
        let range = if system { &self.defaults.system_gids } else { &self.defaults.gids };
        next_id(range, system, &self.gids()).ok_or_else(|| AccountError::NoIdLeft(name.into()))
    }

    pub(super) fn gids(&self) -> BTreeSet<u32> {
        self.group.lines().filter_map(|line| line.number(2)).collect()
    }

    /// The number of a group given by name or number.
    pub(super) fn known_group(&self, name: &str, group: &str) -> Result<u32, AccountError> {
        let by_number = || group.parse().ok().filter(|gid| self.gids().contains(gid));
        self.group_id(group)
            .or_else(by_number)
            .ok_or_else(|| AccountError::NoGroup { name: name.into(), group: group.into() })
    }
}

/// No password is a password nobody can have.
fn locked_if_empty(hash: &str) -> String {
    if hash.is_empty() { "*".into() } else { hash.into() }
}
