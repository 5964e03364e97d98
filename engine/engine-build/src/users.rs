//! `--chown`: users and groups by the names that the image itself knows.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use engine_image::dirfd;

/// The user and group meant by `user[:group]`; one name alone means both.
pub(crate) fn owner(spec: &str, root: BorrowedFd<'_>) -> Result<(u32, u32), String> {
    let (user, group) = spec.split_once(':').unwrap_or((spec, spec));
    let uid = match user.parse() {
        Ok(uid) => uid,
        Err(_) => id_of(root, "etc/passwd", user)
            .ok_or_else(|| format!("can't find uid for user {user}: no such user: {user}"))?,
    };
    let gid = match group.parse() {
        Ok(gid) => gid,
        Err(_) => id_of(root, "etc/group", group)
            .ok_or_else(|| format!("can't find gid for group {group}: no such group: {group}"))?,
    };
    Ok((uid, gid))
}

/// Third field of the line with this name; both files are alike in that.
fn id_of(root: BorrowedFd<'_>, file: &str, name: &str) -> Option<u32> {
    let opened = dirfd::open_file_in(root, Path::new(file)).ok()?;
    let mut text = String::new();
    opened.take(4 << 20).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}
