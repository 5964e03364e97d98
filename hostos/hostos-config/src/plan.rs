//! What applying a config would do, step by step, in the order in which it is done.

use std::fmt;

use crate::types::{Config, Disk, Filesystem, Owner, Resource, Unit};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done, one word: `fetch`, `partition`, `format`, `group`, `user`, `directory`, …
    pub verb: &'static str,
    /// To what.
    pub object: String,
    /// How.
    pub detail: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {}", self.verb, self.object)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, "  ({})", self.detail) }
    }
}

/// The steps of a config, whose parents are fetched and merged before.
#[must_use]
pub fn plan(config: &Config) -> Vec<Step> {
    let mut steps = Vec::new();
    fetches(&mut steps, config);
    arguments(&mut steps, config);
    config.storage.disks.iter().for_each(|disk| partitions(&mut steps, disk));
    steps.extend(config.storage.filesystems.iter().filter_map(filesystem));
    accounts(&mut steps, config);
    nodes(&mut steps, config);
    config.systemd.units.iter().for_each(|wanted| unit(&mut steps, wanted));
    steps
}

fn step(verb: &'static str, object: impl Into<String>, detail: impl Into<String>) -> Step {
    Step { verb, object: object.into(), detail: detail.into() }
}

/// A URL that something must be fetched from.
fn remote(resource: &Resource) -> Option<&str> {
    let source = resource.source.as_deref().filter(|source| !source.is_empty())?;
    let inline = source.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    (!inline).then_some(source)
}

fn fetches(steps: &mut Vec<Step>, config: &Config) {
    let ignition = &config.ignition;
    let mut fetch = |resource: &Resource, what: &str| {
        if let Some(url) = remote(resource) {
            let verified = if resource.verification.hash.is_some() { ", verified" } else { "" };
            steps.push(step("fetch", url, format!("{what}{verified}")));
        }
    };
    ignition.security.tls.certificate_authorities.iter().for_each(|resource| fetch(resource, "authority"));
    fetch(&ignition.config.replace, "config in place of this one");
    ignition.config.merge.iter().for_each(|resource| fetch(resource, "config to merge"));
    for file in &config.storage.files {
        fetch(&file.contents, &file.path);
        file.append.iter().for_each(|resource| fetch(resource, &file.path));
    }
}

fn arguments(steps: &mut Vec<Step>, config: &Config) {
    let arguments = &config.kernel_arguments;
    steps.extend(
        arguments.should_not_exist.iter().map(|argument| step("kernel", argument, "removed, reboot")),
    );
    steps.extend(arguments.should_exist.iter().map(|argument| step("kernel", argument, "added, reboot")));
}

fn partitions(steps: &mut Vec<Step>, disk: &Disk) {
    if disk.wipe_table == Some(true) {
        steps.push(step("wipe", &disk.device, "the whole partition table"));
    }
    for partition in &disk.partitions {
        let label = partition.label.as_deref().unwrap_or_default();
        let name = if partition.number == 0 { label.to_owned() } else { partition.number.to_string() };
        let size = match partition.size_mib {
            Some(size) if size > 0 => format!("{size} MiB"),
            _ => "all that is free".into(),
        };
        let detail = match partition.should_exist {
            Some(false) => "removed".into(),
            _ if label.is_empty() || partition.number == 0 => size,
            _ => format!("`{label}`, {size}"),
        };
        steps.push(step("partition", format!("{} of {}", name, disk.device), detail));
    }
}

fn filesystem(filesystem: &Filesystem) -> Option<Step> {
    let format = filesystem.format.as_deref().filter(|format| !format.is_empty())?;
    let mut detail = format.to_owned();
    if let Some(label) = &filesystem.label {
        detail.push_str(&format!(" labelled `{label}`"));
    }
    if let Some(path) = &filesystem.path {
        detail.push_str(&format!(" at {path}"));
    }
    let verb = if filesystem.wipe_filesystem == Some(true) { "format" } else { "filesystem" };
    Some(step(verb, &filesystem.device, detail))
}

fn accounts(steps: &mut Vec<Step>, config: &Config) {
    let gone = |should_exist: Option<bool>, detail: String| {
        if should_exist == Some(false) { "removed".into() } else { detail }
    };
    for group in &config.passwd.groups {
        let detail = group.gid.map_or(String::new(), |gid| format!("number {gid}"));
        steps.push(step("group", &group.name, gone(group.should_exist, detail)));
    }
    for user in &config.passwd.users {
        let mut details: Vec<String> = user.uid.iter().map(|uid| format!("number {uid}")).collect();
        match user.ssh_authorized_keys.len() {
            0 => {}
            1 => details.push("1 ssh key".into()),
            count => details.push(format!("{count} ssh keys")),
        }
        if !user.groups.is_empty() {
            details.push(format!("in {}", user.groups.join(", ")));
        }
        steps.push(step("user", &user.name, gone(user.should_exist, details.join(", "))));
    }
}

fn nodes(steps: &mut Vec<Step>, config: &Config) {
    let storage = &config.storage;
    for directory in &storage.directories {
        let detail =
            access(directory.mode.unwrap_or(0o755), &directory.user, &directory.group, directory.overwrite);
        steps.push(step("directory", &directory.path, detail));
    }
    for file in &storage.files {
        let detail = access(file.mode.unwrap_or(0o644), &file.user, &file.group, file.overwrite);
        let verb = if file.append.is_empty() { "file" } else { "append" };
        steps.push(step(verb, &file.path, detail));
    }
    for link in &storage.links {
        let target = link.target.as_deref().unwrap_or_default();
        let kind = if link.hard == Some(true) { "hard link" } else { "link" };
        steps.push(step("link", &link.path, format!("{kind} to {target}")));
    }
}

fn access(mode: i64, user: &Owner, group: &Owner, overwrite: Option<bool>) -> String {
    let name = |owner: &Owner| match (owner.id, owner.name.as_deref()) {
        (Some(id), _) => id.to_string(),
        (None, Some(name)) if !name.is_empty() => name.to_owned(),
        _ => "root".into(),
    };
    let over = if overwrite == Some(true) { ", in the place of what is there" } else { "" };
    format!("{:04o} {}:{}{over}", mode & 0o777, name(user), name(group))
}

fn unit(steps: &mut Vec<Step>, unit: &Unit) {
    let mut details = Vec::new();
    match unit.dropins.len() {
        0 => {}
        1 => details.push("1 drop-in".to_owned()),
        count => details.push(format!("{count} drop-ins")),
    }
    for (set, yes, no) in [(unit.enabled, "enabled", "disabled"), (unit.mask, "masked", "unmasked")] {
        details.extend(set.map(|set| if set { yes.to_owned() } else { no.to_owned() }));
    }
    steps.push(step("unit", &unit.name, details.join(", ")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn the_steps_are_in_the_order_in_which_they_are_done() {
        let text = r#"{"ignition":{"version":"3.3.0"},
            "kernelArguments":{"shouldExist":["quiet"]},
            "passwd":{"users":[{"name":"core","sshAuthorizedKeys":["k"]}]},
            "storage":{"disks":[{"device":"/dev/vdb","wipeTable":true,"partitions":[{"number":1,"label":"a"}]}],
                "filesystems":[{"device":"/dev/disk/by-partlabel/a","format":"ext4","path":"/var/a"}],
                "files":[{"path":"/etc/a","contents":{"source":"https://x/a"},"user":{"name":"core"}}]},
            "systemd":{"units":[{"name":"a.service","enabled":true,"dropins":[{"name":"x.conf"}]}]}}"#;
        let (config, _) = parse(text.as_bytes(), "t").expect("it is valid");
        let said: Vec<String> = plan(&config).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "fetch      https://x/a  (/etc/a)",
                "kernel     quiet  (added, reboot)",
                "wipe       /dev/vdb  (the whole partition table)",
                "partition  1 of /dev/vdb  (`a`, all that is free)",
                "filesystem /dev/disk/by-partlabel/a  (ext4 at /var/a)",
                "user       core  (1 ssh key)",
                "file       /etc/a  (0644 core:root)",
                "unit       a.service  (1 drop-in, enabled)",
            ]
        );
    }
}
