//! Who a program runs as: Docker's `--user` and `--group-add`, looked up in the
//! container's own `/etc/passwd` and `/etc/group`.
//!
//! Pure: the two files come in as text. No NSS, no host users.

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, in the order found, without repetition.
    pub groups: Vec<u32>,
    pub home: String,
}

/// User and group that `user` (as above) is in a container with these files.
pub fn owner(user: &str, passwd: &str, group: &str) -> Result<(u32, u32), String> {
    resolve(user, &[], passwd, group).map(|found| (found.uid, found.gid))
}

const LARGEST: u32 = i32::MAX as u32;

/// Finds `user` (`""`, `name`, `uid`, each with an optional `:group`).
pub(crate) fn resolve(
    user: &str,
    extra_groups: &[String],
    passwd: &str,
    group: &str,
) -> Result<User, String> {
    let (user, group_wanted) = user.split_once(':').unwrap_or((user, ""));
    let entry = find_user(if user.is_empty() { "0" } else { user }, passwd);
    let mut found = match (entry, number(user)?) {
        (Some(entry), _) => entry,
        (None, Some(uid)) => Entry { name: String::new(), uid, gid: 0, home: "/".into() },
        (None, None) if user.is_empty() => Entry { name: String::new(), uid: 0, gid: 0, home: "/".into() },
        (None, None) => {
            return Err(format!("unable to find user {user}: no matching entries in passwd file"));
        }
    };
    if found.home.is_empty() {
        found.home = "/".into();
    }
    let mut groups = Vec::new();
    if group_wanted.is_empty() {
        groups.extend(memberships(&found.name, group));
    } else {
        found.gid = find_group(group_wanted, group)?;
    }
    for wanted in extra_groups {
        groups.push(find_group(wanted, group)?);
    }
    // A group that is only the primary one would be lost to a set-group-id program that drops back.
    groups.push(found.gid);
    let mut seen = Vec::new();
    groups.retain(|gid| {
        let new = !seen.contains(gid);
        seen.push(*gid);
        new
    });
    Ok(User { uid: found.uid, gid: found.gid, groups, home: found.home })
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

fn find_user(wanted: &str, passwd: &str) -> Option<Entry> {
    let entries = || {
        passwd.lines().filter_map(|line| {
            let mut fields = line.trim().split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            let home = fields.nth(1).unwrap_or("");
            Some(Entry { name: name.into(), uid, gid, home: home.into() })
        })
    };
    entries()
        .find(|entry| entry.name == wanted)
        .or_else(|| wanted.parse().ok().and_then(|uid: u32| entries().find(|entry| entry.uid == uid)))
}

/// (name, gid, members)
fn group_lines(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn memberships<'a>(name: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    group_lines(group)
        .filter(move |(_, _, members)| !name.is_empty() && members.split(',').any(|member| member == name))
        .map(|(_, gid, _)| gid)
}

fn find_group(wanted: &str, group: &str) -> Result<u32, String> {
    if let Some((_, gid, _)) = group_lines(group).find(|(name, _, _)| *name == wanted) {
        return Ok(gid);
    }
    number(wanted)?.ok_or_else(|| format!("unable to find group {wanted}: no matching entries in group file"))
}

fn number(text: &str) -> Result<Option<u32>, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(number) if number <= LARGEST => Ok(Some(number)),
        _ => Err("uids and gids must be in range 0-2147483647".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:www:/var/www:/bin/false\nbroken\n7:x:70:70::/seven:\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\naudio:x:29:web,root\nvideo:x:44:web\n";

    fn ok(user: &str) -> (u32, u32, Vec<u32>, String) {
        let user = resolve(user, &[], PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups, user.home)
    }

    #[test]
    fn names_numbers_and_groups() {
        assert_eq!(ok(""), (0, 0, vec![29, 0], "/root".into()));
        assert_eq!(ok("web"), (33, 33, vec![29, 44, 33], "/var/www".into()));
        assert_eq!(ok("33"), (33, 33, vec![29, 44, 33], "/var/www".into()));
        assert_eq!(ok("web:audio"), (33, 29, vec![29], "/var/www".into()));
        assert_eq!(ok("1234"), (1234, 0, vec![0], "/".into()));
        assert_eq!(ok("1234:5678"), (1234, 5678, vec![5678], "/".into()));
        assert_eq!(ok("7"), (70, 70, vec![70], "/seven".into()), "a name of digits wins");
    }

    #[test]
    fn without_files_only_numbers_work() {
        assert_eq!(resolve("", &[], "", "").unwrap().uid, 0);
        assert_eq!(resolve("5:6", &["7".into()], "", "").unwrap().groups, [7, 6]);
        let error = resolve("web", &[], "", "").unwrap_err();
        assert_eq!(error, "unable to find user web: no matching entries in passwd file");
        assert!(
            resolve("0:nosuch", &[], PASSWD, GROUP)
                .unwrap_err()
                .contains("no matching entries in group file")
        );
        assert!(resolve("-1", &[], PASSWD, GROUP).unwrap_err().contains("range"));
        assert!(resolve("4294967296", &[], PASSWD, GROUP).unwrap_err().contains("range"));
    }

    #[test]
    fn extra_groups_come_once() {
        let user = resolve("web", &["video".into(), "99".into()], PASSWD, GROUP).unwrap();
        assert_eq!(user.groups, [29, 44, 99, 33]);
    }
}
