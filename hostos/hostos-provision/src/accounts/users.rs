//! Users, as `useradd`, `usermod` and `userdel` change them.

use hostos_config::PasswdUser;

use super::{AccountError, Accounts, check_field, check_id, check_name, next_id};

/// A home directory that a new or changed user needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NewHome {
    /// Made from the skeleton.
    Make {
        /// For whom.
        user: String,
    },
    /// Given to the user's new numbers, where the old ones owned.
    Own {
        /// Whose.
        user: String,
        /// Numbers before.
        old: (u32, u32),
    },
    /// Removed with all that is in it, if it is its user's.
    Remove {
        /// Where.
        home: String,
        /// Number of the user who is gone.
        uid: u32,
    },
    /// Moved from an older path, if that exists.
    Move {
        /// From where.
        from: String,
        /// For whom.
        user: String,
    },
}

impl Accounts {
    /// Makes the user as the config wants it; says what has to happen to its home.
    pub(crate) fn ensure_user(&mut self, wanted: &PasswdUser) -> Result<Vec<NewHome>, AccountError> {
        if wanted.should_exist == Some(false) {
            return Ok(self.remove_user(&wanted.name).into_iter().collect());
        }
        check_fields(wanted)?;
        for group in &wanted.groups {
            self.known_group(&wanted.name, group)?;
        }
        match self.user(&wanted.name) {
            Some(_) => self.change_user(wanted),
            None => Ok(self.add_user(wanted)?.into_iter().collect()),
        }
    }

    fn add_user(&mut self, wanted: &PasswdUser) -> Result<Option<NewHome>, AccountError> {
        let name = &wanted.name;
        check_name(name)?;
        let system = wanted.system.unwrap_or_default();
        let own_group = self.defaults.own_groups
            && wanted.primary_group.is_none()
            && !wanted.no_user_group.unwrap_or_default();
        if own_group && self.group_id(name).is_some() {
            return Err(AccountError::IdTaken {
                name: name.clone(),
                id: self.group_id(name).unwrap_or_default(),
                other: format!("group {name}"),
            });
        }
        let uid = match wanted.uid {
            Some(uid) => self.free_wanted_uid(name, uid)?,
            None => self.free_uid(name, system)?,
        };
        let gid = match &wanted.primary_group {
            Some(group) => self.known_group(name, group)?,
            None if own_group => self.make_own_group(name, uid, system)?,
            None => {
                let group = self.defaults.group.clone();
                self.known_group(name, &group)?
            }
        };
        let home = wanted.home_dir.clone().unwrap_or_else(|| format!("{}/{name}", self.defaults.home));
        let shell = wanted.shell.clone().unwrap_or_else(|| self.defaults.shell.clone());
        let gecos = wanted.gecos.clone().unwrap_or_default();
        self.passwd.add([name.clone(), "x".into(), uid.to_string(), gid.to_string(), gecos, home, shell]);
        self.add_shadow(wanted, system);
        self.join_groups(name, &wanted.groups);
        let make = !wanted.no_create_home.unwrap_or_default();
        Ok(make.then(|| NewHome::Make { user: name.clone() }))
    }

    fn add_shadow(&mut self, wanted: &PasswdUser, system: bool) {
        let [min, max, warn] =
            if system { <[String; 3]>::default() } else { self.defaults.password_days.clone() };
        let hash = password(wanted.password_hash.as_deref());
        let empty = String::new;
        let name = wanted.name.clone();
        self.shadow.remove(&name);
        self.shadow.add([name, hash, self.today.to_string(), min, max, warn, empty(), empty(), empty()]);
    }

    fn make_own_group(&mut self, name: &str, uid: u32, system: bool) -> Result<u32, AccountError> {
        let gid = if self.gids().contains(&uid) { self.free_gid(name, system)? } else { uid };
        self.add_group(name, gid, "!");
        Ok(gid)
    }

    fn free_wanted_uid(&self, name: &str, uid: i64) -> Result<u32, AccountError> {
        let uid = check_id(name, uid)?;
        match self.passwd.lines().find(|line| line.number(2) == Some(uid) && line.name() != name) {
            Some(other) => {
                Err(AccountError::IdTaken { name: name.into(), id: uid, other: other.name().into() })
            }
            None => Ok(uid),
        }
    }

    /// A free number; for a user with a group of its own name, one that is free there too.
    fn free_uid(&self, name: &str, system: bool) -> Result<u32, AccountError> {
        let range = if system { &self.defaults.system_uids } else { &self.defaults.uids };
        let taken = self.passwd.lines().filter_map(|line| line.number(2)).collect();
        next_id(range, system, &taken).ok_or_else(|| AccountError::NoIdLeft(name.into()))
    }

    fn change_user(&mut self, wanted: &PasswdUser) -> Result<Vec<NewHome>, AccountError> {
        let name = &wanted.name;
        let before = self.user(name);
        if let Some(uid) = wanted.uid {
            let uid = self.free_wanted_uid(name, uid)?;
            self.passwd.set(name, 2, uid.to_string());
        }
        if let Some(group) = &wanted.primary_group {
            let gid = self.known_group(name, group)?;
            self.passwd.set(name, 3, gid.to_string());
        }
        if let Some(gecos) = &wanted.gecos {
            self.passwd.set(name, 4, gecos.clone());
        }
        if let Some(shell) = &wanted.shell {
            self.passwd.set(name, 6, shell.clone());
        }
        if wanted.password_hash.is_some() {
            let hash = password(wanted.password_hash.as_deref());
            match self.shadow.line(name) {
                Some(line) if line.field(1) == hash => {}
                Some(_) => {
                    self.shadow.set(name, 1, hash);
                    self.shadow.set(name, 2, self.today.to_string());
                }
                None => self.add_shadow(wanted, wanted.system.unwrap_or_default()),
            }
        }
        if !wanted.groups.is_empty() {
            self.group.remove_from_lists(3, name);
            self.gshadow.remove_from_lists(3, name);
            self.join_groups(name, &wanted.groups);
        }
        let mut homes = Vec::new();
        if let (Some(before), Some(now)) = (&before, self.user(name)) {
            if (before.uid, before.gid) != (now.uid, now.gid) {
                homes.push(NewHome::Own { user: name.clone(), old: (before.uid, before.gid) });
            }
            if let Some(home) = wanted.home_dir.as_ref().filter(|home| **home != before.home) {
                self.passwd.set(name, 5, home.clone());
                homes.push(NewHome::Move { from: before.home.clone(), user: name.clone() });
            }
        }
        // The home is at its new place when it changes hands.
        homes.reverse();
        Ok(homes)
    }

    fn join_groups(&mut self, name: &str, groups: &[String]) {
        let names: Vec<String> = groups.iter().filter_map(|group| self.group_name(group)).collect();
        for group in names {
            self.group.add_to_list(&group, 3, name);
            self.gshadow.add_to_list(&group, 3, name);
        }
    }

    fn group_name(&self, group: &str) -> Option<String> {
        let named = self.group.line(group);
        let numbered = || self.group.lines().find(|line| line.field(2) == group);
        named.or_else(numbered).map(|line| line.name().to_owned())
    }

    /// Takes the user out of every file; its home is to go too.
    fn remove_user(&mut self, name: &str) -> Option<NewHome> {
        let user = self.user(name)?;
        self.passwd.remove(name);
        self.shadow.remove(name);
        self.group.remove_from_lists(3, name);
        self.gshadow.remove_from_lists(3, name);
        let used = self.passwd.lines().any(|line| line.number(3) == Some(user.gid));
        let own = self
            .group
            .line(name)
            .is_some_and(|line| line.number(2) == Some(user.gid) && line.field(3).is_empty());
        if own && !used {
            self.group.remove(name);
            self.gshadow.remove(name);
        }
        let shared = self.passwd.lines().any(|line| line.field(5) == user.home);
        (!shared).then_some(NewHome::Remove { home: user.home, uid: user.uid })
    }
}

fn check_fields(wanted: &PasswdUser) -> Result<(), AccountError> {
    let name = &wanted.name;
    check_field(name, "the gecos", wanted.gecos.as_deref())?;
    check_field(name, "the home directory", wanted.home_dir.as_deref())?;
    check_field(name, "the shell", wanted.shell.as_deref())?;
    check_field(name, "the password hash", wanted.password_hash.as_deref())?;
    match wanted.home_dir.as_deref() {
        Some(home) if !home.starts_with('/') => {
            Err(AccountError::BadHome { name: name.clone(), home: home.into() })
        }
        _ => Ok(()),
    }
}

/// What `/etc/shadow` holds: without a hash, nobody logs in by password.
fn password(hash: Option<&str>) -> String {
    match hash {
        None | Some("") => "*".into(),
        Some(hash) => hash.into(),
    }
}
