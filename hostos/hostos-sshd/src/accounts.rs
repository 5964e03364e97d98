//! Accounts of the machine, read from passwd and group: a static program has no other way to them.

use std::fs;
use std::path::{Path, PathBuf};

/// Someone who may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
    pub(crate) shell: PathBuf,
}

/// The account called `name`; nothing if there is none or it may not log in.
pub(crate) fn find(etc: &Path, name: &str) -> Option<Account> {
    let passwd = fs::read_to_string(etc.join("passwd")).ok()?;
    let group = fs::read_to_string(etc.join("group")).unwrap_or_default();
    account(&passwd, &group, name)
}

fn account(passwd: &str, group: &str, name: &str) -> Option<Account> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let fields: Vec<_> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
    let shell = if shell.is_empty() { "/bin/sh" } else { shell };
    if shell.ends_with("/nologin") || shell.ends_with("/false") {
        return None;
    }
    let gid = gid.parse().ok()?;
    Some(Account {
        name: (*name).to_owned(),
        uid: uid.parse().ok()?,
        gid,
        groups: groups(group, name, gid),
        home: PathBuf::from(home),
        shell: PathBuf::from(shell),
    })
}

fn groups(group: &str, name: &str, first: u32) -> Vec<u32> {
    let mut ids = vec![first];
    for line in group.lines() {
        let fields: Vec<_> = line.split(':').collect();
        let [_, _, gid, members] = fields.as_slice() else { continue };
        let Ok(gid) = gid.parse() else { continue };
        if members.split(',').any(|member| member == name) && !ids.contains(&gid) {
            ids.push(gid);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                          nobody:x:65534:65534::/:/usr/bin/nologin\n\
                          core:x:500:500::/home/core:\n";
    const GROUP: &str = "root:x:0:\ndocker:x:233:core\nsudo:x:27:x,core\n";

    #[test]
    fn groups_are_collected_and_an_empty_shell_is_sh() {
        let core = account(PASSWD, GROUP, "core").unwrap();
        assert_eq!(core.groups, [500, 233, 27]);
        assert_eq!(core.shell, Path::new("/bin/sh"));
    }

    #[test]
    fn who_has_no_shell_does_not_get_in() {
        assert_eq!(account(PASSWD, GROUP, "nobody"), None);
        assert_eq!(account(PASSWD, GROUP, "cor"), None);
    }
}
