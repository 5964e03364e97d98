//! Facts of this host, read from files only: ids, os-release, memory, users.

use std::fs;
use std::path::Path;

use unit_file::Specifiers;

use crate::options::Options;

/// What specifiers stand for on this host.
pub(crate) fn specifiers(options: &Options) -> Specifiers {
    let text = |path: &Path| path.display().to_string();
    Specifiers {
        machine_id: first_line("/etc/machine-id"),
        boot_id: boot_id(),
        host_name: host_name(),
        kernel: first_line("/proc/sys/kernel/osrelease"),
        architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "x86-64" }.into(),
        os_release: os_release(),
        user: "root".into(),
        uid: 0,
        group: "root".into(),
        gid: 0,
        home: "/root".into(),
        shell: "/bin/sh".into(),
        runtime_dir: text(&options.runtime_dir),
        state_dir: text(&options.state_dir),
        cache_dir: text(&options.cache_dir),
        logs_dir: text(&options.logs_dir),
        config_dir: text(&options.config_dir),
        tmp_dir: "/tmp".into(),
        var_tmp_dir: "/var/tmp".into(),
        fragment: String::new(),
    }
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
}

/// 32 hexadecimal digits.
pub(crate) fn boot_id() -> String {
    first_line("/proc/sys/kernel/random/boot_id").replace('-', "")
}

pub(crate) fn host_name() -> String {
    first_line("/proc/sys/kernel/hostname")
}

/// 32 fresh hexadecimal digits.
pub(crate) fn random_id() -> String {
    first_line("/proc/sys/kernel/random/uuid").replace('-', "")
}

fn os_release() -> Vec<(String, String)> {
    let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    unit_file::parse_environment_file(&text.unwrap_or_default())
}

/// Bytes of memory of this host.
pub(crate) fn memory_total() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Most processes and threads this host can have.
pub(crate) fn tasks_total() -> Option<u64> {
    let read = |path| first_line(path).parse::<u64>().ok();
    Some(read("/proc/sys/kernel/pid_max")?.min(read("/proc/sys/kernel/threads-max")?))
}

/// A user of /etc/passwd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// A user by name or number, from the text of a passwd file.
pub(crate) fn find_user(passwd: &str, wanted: &str) -> Option<User> {
    let users = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?.to_owned();
        let shell = fields.next().unwrap_or_default().to_owned();
        Some(User { name, uid, gid, home, shell })
    });
    let number = wanted.parse::<u32>().ok();
    users.into_iter().find(|user| user.name == wanted || number == Some(user.uid)).or_else(|| {
        let uid = number?;
        Some(User { name: wanted.to_owned(), uid, gid: uid, home: "/".into(), shell: "/bin/sh".into() })
    })
}

/// The number of a group by name or number, from the text of a group file.
pub(crate) fn find_group(groups: &str, wanted: &str) -> Option<u32> {
    let by_name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == wanted).then(|| fields.nth(1)?.parse().ok())?
    });
    by_name.or_else(|| wanted.parse().ok())
}

/// All groups a user is a member of.
pub(crate) fn groups_of(groups: &str, user: &str, primary: u32) -> Vec<u32> {
    let mut found = vec![primary];
    for line in groups.lines() {
        let mut fields = line.split(':');
        let gid = fields.nth(2).and_then(|gid| gid.parse().ok());
        let member = fields.next().is_some_and(|members| members.split(',').any(|member| member == user));
        if let Some(gid) = gid.filter(|gid| member && !found.contains(gid)) {
            found.push(gid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbad\ncore:x:500:500::/home/core:/bin/sh\n";
    const GROUP: &str = "root:x:0:\ndocker:x:233:core,x\ncore:x:500:core\nwheel:x:10:x\n";

    #[test]
    fn users_and_groups() {
        let core = find_user(PASSWD, "core").expect("known");
        assert_eq!((core.uid, core.gid, core.home.as_str()), (500, 500, "/home/core"));
        assert_eq!(find_user(PASSWD, "500"), Some(core));
        assert_eq!(find_user(PASSWD, "nobody"), None);
        assert_eq!(find_user(PASSWD, "7").map(|user| user.gid), Some(7), "a number needs no entry");
        assert_eq!(
            (find_group(GROUP, "docker"), find_group(GROUP, "9"), find_group(GROUP, "x")),
            (Some(233), Some(9), None)
        );
        assert_eq!(groups_of(GROUP, "core", 500), [500, 233]);
    }
}
