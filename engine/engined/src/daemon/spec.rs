//! From a container's record to what its shim is told: the spec, and the limits of its cgroup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use engine_api::host_config::{HostConfig, ThrottleDevice};
use engine_runtime::spec::{
    Log, Mount, MountKind, Mounts, Namespace, Namespaces, Process, Propagation, Rlimit, Rootfs, Spec, Stdin,
};
use engine_runtime::{BlkioDevice, Resources};

use super::container::{Container, Mounted, Record};
use super::error::{Refusal, Result};
use super::{Daemon, caps, devices};
use crate::options::Config;

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Daemon {
    /// Everything but the cgroup, which is made beside it.
    pub(crate) fn spec(&self, container: &Container, net: Namespace, files: Vec<Mount>) -> Result<Spec> {
        let record = container.record().clone();
        let host = &record.host;
        let namespaces = self.namespaces(host, net)?;
        check_shares(host.cpu_shares)?;
        let rootfs = match self.store.writable(&record.id) {
            Some(writable) => Rootfs::Overlay {
                lower: writable.lowers.clone(),
                upper: writable.upper.clone(),
                work: writable.work.clone(),
                volatile: host.auto_remove,
            },
            // A build step has a layer of the builder's.
            None => Rootfs::default(),
        };
        let mut mounts = self.user_mounts(&record)?;
        let covered: BTreeSet<String> = mounts.iter().map(|m| m.target.clone()).collect();
        mounts.extend(files.into_iter().filter(|f| !covered.contains(&f.target)));
        // Parents before children.
        mounts.sort_by_key(|m| m.target.split('/').count());
        let own_uts = namespaces.uts != Namespace::Host;
        Ok(Spec {
            id: record.id.clone(),
            rootfs,
            process: process(&record, &self.config)?,
            hostname: if own_uts { record.config.hostname.clone() } else { String::new() },
            domainname: if own_uts { record.config.domainname.clone() } else { String::new() },
            sysctl: sysctls(host, &namespaces)?,
            standard_mounts: self.standard_mounts(host, &covered)?,
            namespaces,
            mounts,
            devices: devices::nodes(host)?,
            masked_paths: host.masked_paths.clone().unwrap_or_default(),
            readonly_paths: host.readonly_paths.clone().unwrap_or_default(),
            readonly_rootfs: host.readonly_rootfs,
            log: log(container, &record),
            init: host.init.unwrap_or(false),
            root_propagation: root_propagation(&record.mounts),
            stdin: stdin(&record),
            ..Spec::default()
        })
    }

    fn namespaces(&self, host: &HostConfig, net: Namespace) -> Result<Namespaces> {
        let choose = |mode: &str, name: &str| match mode.strip_prefix("container:") {
            Some(other) => self.join(other, name),
            None if mode == "host" => Ok(Namespace::Host),
            None => Ok(Namespace::New),
        };
        Ok(Namespaces {
            net,
            pid: choose(&host.pid_mode, "pid")?,
            ipc: choose(&host.ipc_mode, "ipc")?,
            uts: choose(&host.uts_mode, "uts")?,
            cgroup: choose(if host.cgroupns_mode == "host" { "host" } else { "" }, "cgroup")?,
            user: None,
        })
    }

    fn join(&self, other: &str, name: &str) -> Result<Namespace> {
        let other = self.containers.find(other)?;
        match other.program() {
            Some(program) if other.record().state.is_alive() => Ok(Namespace::Join(program.namespace(name))),
            _ if name == "ipc" => Err(Refusal::conflict(format!(
                "can't join IPC of container {0}: container {0} is not running",
                other.id
            ))),
            _ => Err(Refusal::conflict(format!("container {} is not running", other.id))),
        }
    }

    fn standard_mounts(&self, host: &HostConfig, covered: &BTreeSet<String>) -> Result<Mounts> {
        let donor = host.ipc_mode.strip_prefix("container:");
        Ok(Mounts {
            shm_size: u64::try_from(host.shm_size).unwrap_or(0),
            shm_from: (host.ipc_mode == "host").then(|| "/dev/shm".into()),
            shm_of: donor.map(|donor| self.mounts_of(donor)).transpose()?,
            no_shm: host.ipc_mode == "none" || covered.contains("/dev/shm"),
            writable_sys: host.privileged,
            cgroup: !covered.contains("/sys/fs/cgroup"),
            host_mqueue: host.ipc_mode == "host",
        })
    }

    /// The mount namespace of a container whose `/dev/shm` is shared.
    fn mounts_of(&self, donor: &str) -> Result<PathBuf> {
        let other = self.containers.find(donor)?;
        let program = other.program().filter(|_| other.record().state.is_alive());
        let program =
            program.ok_or_else(|| Refusal::conflict(format!("container {} is not running", other.id)))?;
        if other.record().host.ipc_mode != "shareable" {
            return Err(Refusal::bad(format!(
                "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                other.id
            )));
        }
        Ok(program.namespace("mnt"))
    }

    fn user_mounts(&self, record: &Record) -> Result<Vec<Mount>> {
        record.mounts.iter().map(|m| self.user_mount(m)).collect()
    }

    fn user_mount(&self, mount: &Mounted) -> Result<Mount> {
        if mount.create_source && !mount.source.exists() {
            std::fs::create_dir_all(&mount.source).map_err(|e| {
                Refusal::internal(format!(
                    "error while creating mount source path '{}': {e}",
                    mount.source.display()
                ))
            })?;
        }
        if mount.kind == "bind" && !mount.source.exists() {
            return Err(Refusal::bad(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                mount.source.display()
            )));
        }
        let mut out = Mount {
            kind: if mount.kind == "tmpfs" { MountKind::Tmpfs } else { MountKind::Bind },
            source: mount.source.clone(),
            target: mount.target.clone(),
            readonly: !mount.rw,
            non_recursive: mount.non_recursive,
            readonly_below: mount.readonly_below,
            subpath: mount.subpath.clone(),
            propagation: propagation(&mount.propagation),
            data: mount.data.clone(),
            ..Mount::default()
        };
        if out.kind == MountKind::Tmpfs {
            let has = |word: &str| mount.flags.iter().any(|f| f == word);
            (out.noexec, out.nosuid, out.nodev) = (!has("exec"), !has("suid"), !has("dev"));
            out.readonly |= has("ro");
        }
        if mount.kind == "volume" {
            self.back_volume(mount, &mut out)?;
        }
        Ok(out)
    }

    fn back_volume(&self, mount: &Mounted, out: &mut Mount) -> Result<()> {
        use super::volumes::Backing;
        let volume = self.volumes.get(&mount.name);
        let volume = volume.ok_or_else(|| Refusal::missing(format!("get {}: no such volume", mount.name)))?;
        match volume.backing() {
            Backing::Folder => {}
            Backing::Bind(path) => out.source = path,
            Backing::Tmpfs(data) => {
                out.kind = MountKind::Tmpfs;
                out.data = data;
            }
            Backing::Other(kind) => {
                return Err(Refusal::bad(format!(
                    "volume {}: file systems of type {kind} are not mounted by the engine; mount it on the host and use type=none,o=bind,device=PATH",
                    mount.name
                )));
            }
        }
        Ok(())
    }
}

/// A file of the engine's, such as /etc/hosts, put into the container.
pub(crate) fn file_mount(source: &Path, target: &str, readonly: bool) -> Mount {
    Mount { source: source.to_owned(), target: target.into(), readonly, ..Mount::default() }
}

fn propagation(word: &str) -> Propagation {
    match word {
        "shared" => Propagation::Shared,
        "rshared" => Propagation::Rshared,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::Rslave,
        "private" => Propagation::Private,
        _ => Propagation::Rprivate,
    }
}

/// A shared or slave mount needs a root that lets it through.
fn root_propagation(mounts: &[Mounted]) -> Propagation {
    let has = |words: [&str; 2]| mounts.iter().any(|m| words.contains(&m.propagation.as_str()));
    match () {
        () if has(["shared", "rshared"]) => Propagation::Shared,
        () if has(["slave", "rslave"]) => Propagation::Rslave,
        () => Propagation::Rprivate,
    }
}

fn process(record: &Record, config: &Config) -> Result<Process> {
    let host = &record.host;
    let mut args = vec![record.path.clone()];
    args.extend(record.args.iter().cloned());
    let capabilities = caps::of(host)?;
    Ok(Process {
        args,
        env: environment(record),
        cwd: record.config.working_dir.clone(),
        user: record.config.user.clone(),
        groups: host.group_add.clone().unwrap_or_default(),
        tty: record.config.tty,
        console_size: console_size(host.console_size),
        seccomp: seccomp(host, &capabilities, config),
        capabilities,
        no_new_privileges: no_new_privileges(host, config),
        rlimits: rlimits(host, config),
        oom_score_adj: Some(host.oom_score_adj).filter(|n| *n != 0),
        apparmor: None,
    })
}

fn has_option(host: &HostConfig, options: &[&str]) -> bool {
    host.security_opt.iter().flatten().any(|o| options.contains(&o.as_str()))
}

/// Also for programs that join later: what the container may not gain, `exec` may not either.
pub(crate) fn no_new_privileges(host: &HostConfig, config: &Config) -> bool {
    let allowed = has_option(host, &["no-new-privileges:false", "no-new-privileges=false"]);
    has_option(host, &["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"])
        || (config.no_new_privileges && !allowed)
}

/// The filter for its system calls; privileged containers have none.
pub(crate) fn seccomp(host: &HostConfig, capabilities: &[String], config: &Config) -> Vec<u64> {
    let asked_for = has_option(host, &["seccomp=builtin", "seccomp:builtin"]);
    if host.privileged
        || has_option(host, &["seccomp=unconfined", "seccomp:unconfined"])
        || (config.seccomp_unconfined && !asked_for)
    {
        return Vec::new();
    }
    caps::seccomp(capabilities)
}

fn console_size([rows, columns]: [u32; 2]) -> Option<(u16, u16)> {
    let size = (u16::try_from(rows).ok()?, u16::try_from(columns).ok()?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// PATH, HOSTNAME and TERM, unless the container says otherwise.
pub(crate) fn environment(record: &Record) -> Vec<String> {
    let own = record.config.env.clone().unwrap_or_default();
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", record.config.hostname)];
    if record.config.tty {
        env.push("TERM=xterm".into());
    }
    override_env(&mut env, &own);
    env
}

/// `KEY=value` replaces or adds; `KEY` alone takes it away.
pub(crate) fn override_env(env: &mut Vec<String>, own: &[String]) {
    for entry in own {
        let (key, value) = entry.split_once('=').map_or((entry.as_str(), None), |(k, v)| (k, Some(v)));
        let place = env.iter().position(|e| e.split('=').next() == Some(key));
        match (place, value) {
            (Some(i), Some(_)) => env[i].clone_from(entry),
            (Some(i), None) => drop(env.remove(i)),
            (None, Some(_)) => env.push(entry.clone()),
            (None, None) => {}
        }
    }
}

fn rlimits(host: &HostConfig, config: &Config) -> Vec<Rlimit> {
    let own = host.ulimits.iter().flatten();
    let mut limits: Vec<Rlimit> =
        own.map(|u| Rlimit { name: u.name.clone(), soft: u.soft, hard: u.hard }).collect();
    for default in &config.ulimits {
        if !limits.iter().any(|l| l.name == default.name) {
            limits.push(Rlimit { name: default.name.clone(), soft: default.soft, hard: default.hard });
        }
    }
    limits
}

/// The kernel bends shares that are out of its bounds in silence; the runtime says so, where it can read
/// them back.
fn check_shares(shares: i64) -> Result<()> {
    let bound = match shares {
        1 => "minimum allowed cpu-shares is 2",
        262_145.. => "maximum allowed cpu-shares is 262144",
        _ => return Ok(()),
    };
    if super::host::is_pure_cgroup2() {
        return Ok(());
    }
    Err(Refusal::internal(format!(
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error setting cgroup config for procHooks process: the {bound}: unknown"
    )))
}

/// Only what lies in the container's own namespaces may be set.
fn sysctls(host: &HostConfig, namespaces: &Namespaces) -> Result<std::collections::BTreeMap<String, String>> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let all = host.sysctls.clone().unwrap_or_default();
    for key in all.keys() {
        let kernel = key.strip_prefix("kernel.");
        let own = match () {
            () if kernel.is_some_and(|k| IPC.contains(&k)) || key.starts_with("fs.mqueue.") => {
                namespaces.ipc == Namespace::New
            }
            () if key.starts_with("net.") => namespaces.net != Namespace::Host,
            () => false,
        };
        if !own {
            let why = if key.starts_with("net.") {
                "not allowed in host network namespace"
            } else {
                "is not in a separate kernel namespace"
            };
            return Err(Refusal::internal(format!(
                "failed to create shim task: OCI runtime create failed: runc create failed: sysctl \"{key}\" {why}: unknown"
            )));
        }
    }
    Ok(all)
}

fn log(container: &Container, record: &Record) -> Log {
    let config = &record.host.log_config;
    if config.kind == "none" {
        return Log::None;
    }
    let option = |key: &str| config.config.get(key).map(String::as_str);
    let labels = record.config.labels.clone().unwrap_or_default();
    let chosen = |key: &str| option(key).into_iter().flat_map(|list| list.split(',')).map(str::to_owned);
    let mut attrs: std::collections::BTreeMap<String, String> =
        chosen("labels").filter_map(|k| labels.get(&k).map(|v| (k.clone(), v.clone()))).collect();
    for key in chosen("env") {
        let pair =
            record.config.env.iter().flatten().find_map(|e| e.split_once('=').filter(|(k, _)| *k == key));
        attrs.extend(pair.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
    if let Some(tag) = option("tag").filter(|t| !t.is_empty()) {
        let tag = tag.replace("{{.Name}}", &record.name).replace("{{.ID}}", super::names::short(&record.id));
        attrs.insert(
            "tag".into(),
            tag.replace("{{.FullID}}", &record.id).replace("{{.ImageName}}", &record.config.image),
        );
    }
    // The local driver is for those who want bounds without setting them; its files are nobody's business.
    let (size, files) = if config.kind == "local" { (20 << 20, 5) } else { (0, 1) };
    Log::JsonFile {
        path: container.log_path(),
        max_size: option("max-size").and_then(engine_api::size::parse).unwrap_or(size),
        max_file: option("max-file").and_then(|n| n.parse().ok()).unwrap_or(files),
        attrs,
    }
}

fn stdin(record: &Record) -> Stdin {
    match (record.config.open_stdin, record.config.stdin_once) {
        (false, _) => Stdin::Closed,
        (true, false) => Stdin::Open,
        (true, true) => Stdin::Once,
    }
}

/// The limits of a container's cgroup.
pub(crate) fn resources(host: &HostConfig) -> Result<Resources> {
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    Ok(Resources {
        memory: positive(host.memory),
        memory_reservation: positive(host.memory_reservation),
        memory_swap: Some(host.memory_swap).filter(|n| *n != 0),
        memory_swappiness: host.memory_swappiness.and_then(|n| u64::try_from(n).ok()),
        oom_kill_disable: host.oom_kill_disable.unwrap_or(false),
        cpu_shares: positive(host.cpu_shares),
        cpu_period: positive(host.cpu_period),
        cpu_quota: Some(host.cpu_quota).filter(|n| *n != 0),
        nano_cpus: positive(host.nano_cpus),
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        pids: host.pids_limit,
        blkio_weight: Some(host.blkio_weight).filter(|n| *n != 0),
        blkio_read_bps: throttled(host.blkio_device_read_bps.as_deref())?,
        blkio_write_bps: throttled(host.blkio_device_write_bps.as_deref())?,
        blkio_read_iops: throttled(host.blkio_device_read_iops.as_deref())?,
        blkio_write_iops: throttled(host.blkio_device_write_iops.as_deref())?,
        devices: devices::rules(host)?,
        all_devices: host.privileged,
    })
}

fn throttled(list: Option<&[ThrottleDevice]>) -> Result<Vec<BlkioDevice>> {
    list.unwrap_or_default()
        .iter()
        .map(|t| {
            let (major, minor) = devices::numbers(Path::new(&t.path))?;
            Ok(BlkioDevice { major, minor, rate: t.rate })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments() {
        let mut record = Record::default();
        record.config.hostname = "h".into();
        record.config.tty = true;
        record.config.env = Some(vec!["PATH=/bin".into(), "A=b=c".into(), "TERM".into()]);
        assert_eq!(environment(&record), ["PATH=/bin", "HOSTNAME=h", "A=b=c"]);
    }

    #[test]
    fn only_own_sysctls() {
        let with = |key: &str| HostConfig {
            sysctls: Some([(key.to_owned(), "1".to_owned())].into()),
            ..HostConfig::default()
        };
        let own = Namespaces::default();
        let host_net = Namespaces { net: Namespace::Host, ..Namespaces::default() };
        assert!(sysctls(&with("net.ipv4.ip_forward"), &own).is_ok());
        assert!(sysctls(&with("net.ipv4.ip_forward"), &host_net).is_err());
        assert!(sysctls(&with("kernel.core_pattern"), &own).is_err());
        assert!(sysctls(&with("kernel.shmmax"), &own).is_ok());
    }
}
