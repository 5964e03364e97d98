//! Home directories: made from the skeleton, moved, and given the ssh keys of the config.

use std::io;

use hostos_config::PasswdUser;

use crate::accounts::{Accounts, NewHome, User};
use crate::root::{Access, Kind, Place, Root};

/// Where the keys of the config go; keys that others manage keep their own files.
const KEYS: &str = ".ssh/authorized_keys.d/ignition";

/// Makes or moves a home, complete or not at all.
pub(crate) fn settle(root: &Root, accounts: &Accounts, home: &NewHome) -> io::Result<()> {
    match home {
        NewHome::Make { user } => match accounts.user(user) {
            Some(user) => make(root, accounts, &user),
            None => Ok(()),
        },
        NewHome::Move { from, user } => match accounts.user(user) {
            Some(user) => carry(root, from, &user.home),
            None => Ok(()),
        },
        NewHome::Own { user, old } => match accounts.user(user) {
            Some(user) => match root.find(&user.home)?.filter(is_directory) {
                Some(home) => hand_over(&home, *old, (user.uid, user.gid)),
                None => Ok(()),
            },
            None => Ok(()),
        },
        NewHome::Remove { home, uid } => match root.find(home)?.filter(is_directory) {
            Some(place) if home != "/" && place.access()?.is_some_and(|access| access.uid == *uid) => {
                place.remove()
            }
            _ => Ok(()),
        },
    }
}

fn make(root: &Root, accounts: &Accounts, user: &User) -> io::Result<()> {
    let home = root.place(&user.home)?;
    if home.kind()?.is_some() {
        return Ok(());
    }
    let unfinished = root.place(&format!("{}.provision", user.home.trim_end_matches('/')))?;
    unfinished.remove()?;
    unfinished.make_directory()?;
    if let Some(skeleton) = root.find(&accounts.defaults.skeleton)?.filter(is_directory) {
        copy_below(&skeleton, &unfinished, user)?;
    }
    unfinished.set_access(Access { uid: user.uid, gid: user.gid, mode: accounts.defaults.home_mode })?;
    unfinished.rename_to(&home)
}

fn is_directory(place: &Place) -> bool {
    matches!(place.kind(), Ok(Some(Kind::Directory)))
}

/// Copies what is below a directory; the copies belong to the user.
fn copy_below(from: &Place, to: &Place, user: &User) -> io::Result<()> {
    for name in from.names()? {
        let (from, to) = (from.child(&name)?, to.child(&name)?);
        let mode = from.access()?.map_or(0o600, |access| access.mode);
        let access = Access { uid: user.uid, gid: user.gid, mode };
        match from.kind()? {
            Some(Kind::File) => {
                let content = from.read()?;
                to.write(access, |file| io::Write::write_all(file, &content))?;
            }
            Some(Kind::Directory) => {
                to.make_directory()?;
                copy_below(&from, &to, user)?;
                to.set_access(access)?;
            }
            Some(Kind::Symlink) => {
                to.symlink(&from.link_target()?.to_string_lossy(), user.uid, user.gid)?;
            }
            Some(Kind::Other) | None => {}
        }
    }
    Ok(())
}

/// Changes the owner of what belonged to the old numbers, there and below.
fn hand_over(place: &Place, old: (u32, u32), new: (u32, u32)) -> io::Result<()> {
    if place.kind()? == Some(Kind::Directory) {
        for name in place.names()? {
            hand_over(&place.child(&name)?, old, new)?;
        }
    }
    let Some(access) = place.access()? else { return Ok(()) };
    let uid = if access.uid == old.0 { new.0 } else { access.uid };
    let gid = if access.gid == old.1 { new.1 } else { access.gid };
    if (uid, gid) == (access.uid, access.gid) { Ok(()) } else { place.own(uid, gid) }
}

fn carry(root: &Root, from: &str, to: &str) -> io::Result<()> {
    let to = root.place(to)?;
    match root.find(from)? {
        Some(from) if is_directory(&from) && to.kind()?.is_none() => from.rename_to(&to),
        _ => Ok(()),
    }
}

/// Writes the ssh keys of the config into the user's home.
pub(crate) fn authorize(root: &Root, accounts: &Accounts, wanted: &PasswdUser) -> io::Result<()> {
    let Some(user) = accounts.user(&wanted.name) else { return Ok(()) };
    if wanted.ssh_authorized_keys.is_empty() {
        return Ok(());
    }
    let mut keys = wanted.ssh_authorized_keys.join("\n");
    if !keys.ends_with('\n') {
        keys.push('\n');
    }
    let access = |mode| Access { uid: user.uid, gid: user.gid, mode };
    let home = user.home.trim_end_matches('/');
    let mut directory = String::from(home);
    for component in KEYS.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
        directory = format!("{directory}/{component}");
        let place = root.place(&directory)?;
        if place.kind()?.is_none() {
            place.make_directory()?;
            place.set_access(access(0o700))?;
        }
    }
    let place = root.place(&format!("{home}/{KEYS}"))?;
    place.write(access(0o600), |file| io::Write::write_all(file, keys.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_home_gets_all_of_the_skeleton() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(at("etc/skel/.config/deep")).expect("it is made");
        std::fs::write(at("etc/skel/.config/deep/file"), "x").expect("it is written");
        std::os::unix::fs::symlink("deep/file", at("etc/skel/.config/link")).expect("it is made");
        let root = Root::open(directory.path()).expect("it is there");
        let mut accounts = Accounts::read(&root, 1).expect("they are empty");
        let owner = nix::unistd::geteuid().as_raw();
        let wanted = PasswdUser { name: "core".into(), uid: Some(i64::from(owner)), ..PasswdUser::default() };
        let homes = accounts.ensure_user(&wanted).expect("it is fine");
        homes.iter().try_for_each(|home| settle(&root, &accounts, home)).expect("it is made");
        assert_eq!(std::fs::read_to_string(at("home/core/.config/link")).expect("it leads there"), "x");
        let mode = at("home/core").metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert!(!at("home/core.provision").exists());
    }
}
