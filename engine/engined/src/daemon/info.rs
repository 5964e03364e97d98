//! What `GET /info` says: the engine's settings and what the host can do.

use engine_api::ApiVersion;
use serde_json::{Value, json};

use super::{Daemon, host};
use crate::options::{Config, Host};
use crate::version;

impl Daemon {
    /// The reply of `GET /info`.
    pub(crate) fn info(&self, version: ApiVersion) -> Value {
        let config = &self.config;
        let os = host::os_release();
        let cgroup2 = host::is_pure_cgroup2();
        let has = |controller: &str| host::has_controller(controller);
        let counts = self.count_containers();
        let mut body = json!({
            "ID": self.id,
            "Containers": counts[0],
            "ContainersRunning": counts[1],
            "ContainersPaused": counts[2],
            "ContainersStopped": counts[3],
            "Images": self.store.images().len(),
            "Driver": "overlay2",
            "DriverStatus": [
                ["Backing Filesystem", host::filesystem_name(&config.data_root)],
                ["Supports d_type", "true"],
                ["Using metacopy", "false"],
                ["Native Overlay Diff", "true"],
                ["userxattr", "false"],
            ],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": null,
                "Log": ["json-file", "local"],
            },
        });
        let host = json!({
            "MemoryLimit": has("memory"),
            "SwapLimit": has("memory") && host::has_swap_limit(),
            "CpuCfsPeriod": has("cpu"),
            "CpuCfsQuota": has("cpu"),
            "CPUShares": has("cpu"),
            "CPUSet": has("cpuset"),
            "PidsLimit": has("pids"),
            "IPv4Forwarding": host::sysctl_on("net/ipv4/ip_forward"),
            "BridgeNfIptables": host::sysctl_on("net/bridge/bridge-nf-call-iptables"),
            "BridgeNfIp6tables": host::sysctl_on("net/bridge/bridge-nf-call-ip6tables"),
            "Debug": config.debug,
            "NFd": host::open_files(),
            "OomKillDisable": !cgroup2 && has("memory"),
            "NGoroutines": host::threads(),
            "SystemTime": host::now_rfc3339(),
            "LoggingDriver": config.log_driver,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": if cgroup2 { "2" } else { "1" },
            "NEventsListener": self.events.listeners(),
            "KernelVersion": host::kernel_version(),
            "OperatingSystem": os.pretty,
            "OSVersion": os.version,
            "OSType": "linux",
            "Architecture": std::env::consts::ARCH,
        });
        let engine = json!({
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": self.registry_config(),
            "NCPU": host::cpus(),
            "MemTotal": host::memory_total(),
            "GenericResources": null,
            "DockerRootDir": config.data_root,
            "HttpProxy": masked(&config.proxies.http),
            "HttpsProxy": masked(&config.proxies.https),
            "NoProxy": config.proxies.except,
            "Name": host::name(),
            "Labels": config.labels,
            "ExperimentalBuild": false,
            "ServerVersion": version::ENGINE,
            "Runtimes": { "runc": { "path": "engine-shim" } },
            "DefaultRuntime": "runc",
            "Swarm": {
                "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive",
                "ControlAvailable": false, "Error": "", "RemoteManagers": null,
            },
            "LiveRestoreEnabled": true,
            "Isolation": "",
            "InitBinary": "engine-shim",
            "ContainerdCommit": { "ID": "", "Expected": "" },
            "RuncCommit": { "ID": "", "Expected": "" },
            "InitCommit": { "ID": "", "Expected": "" },
            "SecurityOptions": security_options(config, cgroup2),
            "CDISpecDirs": [],
            "Warnings": warnings(config, cgroup2),
        });
        for part in [host, engine] {
            merge(&mut body, part);
        }
        if version >= ApiVersion::v1(49) {
            body["FirewallBackend"] = json!({ "Driver": if config.firewall { "nftables" } else { "none" } });
        }
        if version >= ApiVersion::v1(50) {
            body["DiscoveredDevices"] = Value::Null;
        }
        body
    }

    /// All, running, paused, stopped.
    pub(crate) fn count_containers(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for container in self.containers.all() {
            let record = container.record();
            counts[0] += 1;
            match (record.state.running, record.state.paused) {
                (true, true) => counts[2] += 1,
                (true, false) => counts[1] += 1,
                (false, _) => counts[3] += 1,
            }
        }
        counts
    }

    fn registry_config(&self) -> Value {
        let (cidrs, hosts): (Vec<&String>, Vec<&String>) =
            self.config.insecure_registries.iter().partition(|r| r.contains('/'));
        let mut all_cidrs: Vec<&str> = cidrs.into_iter().map(String::as_str).collect();
        for loopback in ["::1/128", "127.0.0.0/8"] {
            if !all_cidrs.contains(&loopback) {
                all_cidrs.push(loopback);
            }
        }
        let mirrors: Vec<String> = self.config.registry_mirrors.iter().map(|m| with_slash(m)).collect();
        let mut index = serde_json::Map::new();
        let hub = json!({ "Name": "docker.io", "Mirrors": mirrors, "Secure": true, "Official": true });
        index.insert("docker.io".into(), hub);
        for host in hosts {
            let entry = json!({ "Name": host, "Mirrors": [], "Secure": false, "Official": false });
            index.insert(host.clone(), entry);
        }
        json!({
            "AllowNondistributableArtifactsCIDRs": [],
            "AllowNondistributableArtifactsHostnames": [],
            "InsecureRegistryCIDRs": all_cidrs,
            "IndexConfigs": index,
            "Mirrors": mirrors,
        })
    }
}

fn merge(body: &mut Value, more: Value) {
    if let (Value::Object(body), Value::Object(more)) = (body, more) {
        body.extend(more);
    }
}

fn with_slash(mirror: &str) -> String {
    if mirror.ends_with('/') { mirror.to_owned() } else { format!("{mirror}/") }
}

/// A proxy's address without the password in it.
fn masked(proxy: &str) -> String {
    match proxy.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (_, host))) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        None => proxy.to_owned(),
    }
}

fn security_options(config: &Config, cgroup2: bool) -> Vec<String> {
    let profile = if config.seccomp_unconfined { "unconfined" } else { "builtin" };
    let mut options = vec![format!("name=seccomp,profile={profile}")];
    if cgroup2 {
        options.push("name=cgroupns".into());
    }
    if config.no_new_privileges {
        options.push("name=no-new-privileges".into());
    }
    options
}

/// What an admin should know; the client prints it below everything else.
fn warnings(config: &Config, cgroup2: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    for host in &config.hosts {
        if let (Host::Tcp(address), None) = (host, &config.tls) {
            warnings.push(format!(
                "WARNING: API is accessible on http://{address} without encryption.\n         Access to the remote API is equivalent to root access on the host. Refer\n         to the 'Docker daemon attack surface' section in the documentation for\n         more information: https://docs.docker.com/go/attack-surface/"
            ));
        }
    }
    let has = |controller: &str| host::has_controller(controller);
    for (works, what) in [
        (has("memory"), "No memory limit support"),
        (has("memory") && host::has_swap_limit(), "No swap limit support"),
        (cgroup2 || has("memory"), "No oom kill disable support"),
        (has("cpu"), "No cpu cfs quota support"),
        (has("cpu"), "No cpu cfs period support"),
        (has("cpu"), "No cpu shares support"),
        (has("cpuset"), "No cpuset support"),
        (host::sysctl_on("net/ipv4/ip_forward"), "IPv4 forwarding is disabled"),
    ] {
        if !works {
            warnings.push(format!("WARNING: {what}"));
        }
    }
    warnings
}
