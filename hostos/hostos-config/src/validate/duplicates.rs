//! Lists whose entries have a key: the same key twice is an error, since only one could be meant.

use super::Findings;
use crate::types::{Config, File, Resource, Storage};

pub(super) fn check(findings: &mut Findings, config: &Config) {
    let ignition = &config.ignition;
    let authorities = &ignition.security.tls.certificate_authorities;
    let list = "$.ignition.security.tls.certificateAuthorities";
    findings.unique(authorities.iter().map(source), "the authority", |index| format!("{list}.{index}"));
    let merges = ignition.config.merge.iter().map(source);
    findings.unique(merges, "the config", |index| format!("$.ignition.config.merge.{index}"));
    findings.unique(strings(&ignition.proxy.no_proxy), "the host", |index| {
        format!("$.ignition.proxy.noProxy.{index}")
    });
    for (list, resources) in [
        ("$.ignition.config.merge", ignition.config.merge.as_slice()),
        ("$.ignition.config.replace", std::slice::from_ref(&ignition.config.replace)),
        (list, authorities),
    ] {
        for (index, resource) in resources.iter().enumerate() {
            let at = if resources.len() == 1 && list.ends_with("replace") {
                list.into()
            } else {
                format!("{list}.{index}")
            };
            headers(findings, &at, resource);
        }
    }
    kernel_arguments(findings, config);
    passwd(findings, config);
    storage(findings, &config.storage);
    units(findings, config);
}

fn source(resource: &Resource) -> &str {
    resource.source.as_deref().unwrap_or_default()
}

fn strings(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(String::as_str)
}

fn headers(findings: &mut Findings, at: &str, resource: &Resource) {
    let names = resource.http_headers.iter().map(|header| header.name.as_str());
    findings.unique(names, "the header", |index| format!("{at}.httpHeaders.{index}"));
}

fn kernel_arguments(findings: &mut Findings, config: &Config) {
    let arguments = &config.kernel_arguments;
    let first = arguments.should_exist.len();
    let both = strings(&arguments.should_exist).chain(strings(&arguments.should_not_exist));
    findings.unique(both, "the kernel argument", |index| match index.checked_sub(first) {
        Some(index) => format!("$.kernelArguments.shouldNotExist.{index}"),
        None => format!("$.kernelArguments.shouldExist.{index}"),
    });
}

fn passwd(findings: &mut Findings, config: &Config) {
    let passwd = &config.passwd;
    let groups = passwd.groups.iter().map(|group| group.name.as_str());
    findings.unique(groups, "the group", |index| format!("$.passwd.groups.{index}"));
    let users = passwd.users.iter().map(|user| user.name.as_str());
    findings.unique(users, "the user", |index| format!("$.passwd.users.{index}"));
    for (user, wanted) in passwd.users.iter().enumerate() {
        let at = |list: &'static str| move |index| format!("$.passwd.users.{user}.{list}.{index}");
        findings.unique(strings(&wanted.groups), "the group", at("groups"));
        findings.unique(strings(&wanted.ssh_authorized_keys), "the ssh key", at("sshAuthorizedKeys"));
    }
}

fn storage(findings: &mut Findings, storage: &Storage) {
    let at = |list: &'static str| move |index| format!("$.storage.{list}.{index}");
    findings.unique(storage.disks.iter().map(|disk| disk.device.as_str()), "the disk", at("disks"));
    let filesystems = storage.filesystems.iter().map(|filesystem| filesystem.device.as_str());
    findings.unique(filesystems, "the filesystem on", at("filesystems"));
    findings.unique(storage.raid.iter().map(|raid| raid.name.as_str()), "the array", at("raid"));
    findings.unique(storage.luks.iter().map(|luks| luks.name.as_str()), "the volume", at("luks"));
    for (index, raid) in storage.raid.iter().enumerate() {
        let at = |device| format!("$.storage.raid.{index}.devices.{device}");
        findings.unique(strings(&raid.devices), "the device", at);
    }
    for (index, luks) in storage.luks.iter().enumerate() {
        let at = |tang| format!("$.storage.luks.{index}.clevis.tang.{tang}");
        findings.unique(luks.clevis.tang.iter().map(|tang| tang.url.as_str()), "the server", at);
        headers(findings, &format!("$.storage.luks.{index}.keyFile"), &luks.key_file);
    }
    nodes(findings, storage);
    for (index, File { contents, append, .. }) in storage.files.iter().enumerate() {
        headers(findings, &format!("$.storage.files.{index}.contents"), contents);
        for (part, resource) in append.iter().enumerate() {
            headers(findings, &format!("$.storage.files.{index}.append.{part}"), resource);
        }
    }
}

/// Files, directories and links share their paths.
fn nodes(findings: &mut Findings, storage: &Storage) {
    let directories = storage.directories.iter().map(|directory| directory.path.as_str());
    let files = storage.files.iter().map(|file| file.path.as_str());
    let links = storage.links.iter().map(|link| link.path.as_str());
    let (first_file, first_link) =
        (storage.directories.len(), storage.directories.len() + storage.files.len());
    findings.unique(directories.chain(files).chain(links), "the path", |index| {
        if index >= first_link {
            format!("$.storage.links.{}", index - first_link)
        } else if index >= first_file {
            format!("$.storage.files.{}", index - first_file)
        } else {
            format!("$.storage.directories.{index}")
        }
    });
}

fn units(findings: &mut Findings, config: &Config) {
    let units = &config.systemd.units;
    findings.unique(units.iter().map(|unit| unit.name.as_str()), "the unit", |index| {
        format!("$.systemd.units.{index}")
    });
    for (index, unit) in units.iter().enumerate() {
        let names = unit.dropins.iter().map(|dropin| dropin.name.as_str());
        findings.unique(names, "the drop-in", |dropin| format!("$.systemd.units.{index}.dropins.{dropin}"));
    }
}
