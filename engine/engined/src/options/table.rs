//! Every option of dockerd, as data: its flag, its key in daemon.json, and what engined makes of it.
//!
//! An option is effective, or refused with the one sentence that says what to use. Nothing is read here.

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Text,
    Number,
    /// May be given several times; an array in daemon.json.
    List,
    /// `key=value` several times; an object in daemon.json.
    Map,
    /// `name=key=value` several times; an object of objects in daemon.json.
    Nested,
}

/// What engined does with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    Works,
    /// Taken, but there is nothing to do for it; the reason is logged.
    Idle(&'static str),
    /// Taken only with this value, which is how engined always behaves.
    Only(&'static str, &'static str),
    Refused(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Opt {
    pub(crate) flag: &'static str,
    pub(crate) short: Option<char>,
    /// The key in daemon.json; empty when the option is only a flag.
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) support: Support,
}

use Kind::{Bool, List, Map, Nested, Number, Text};
use Support::{Idle, Only, Refused, Works};

const fn opt(flag: &'static str, key: &'static str, kind: Kind, help: &'static str) -> Opt {
    Opt { flag, short: None, key, kind, help, support: Works }
}

const fn short(mut o: Opt, c: char) -> Opt {
    o.short = Some(c);
    o
}

const fn is(mut o: Opt, support: Support) -> Opt {
    o.support = support;
    o
}

const NO_RUNTIMES: &str = "engined runs containers itself; drop the option";
const NO_CONTAINERD: &str = "engined needs no containerd; drop the option";
const NO_IPV6: &str = "IPv6 is not served yet; publish on IPv4 addresses";
const NO_PLUGINS: &str = "plugins are not served; restrict access with client certificates (--tlsverify)";
const NO_CLUSTER_STORE: &str = "cluster stores went with Docker 20; use kv";
const NO_RT: &str = "real-time scheduling is not served; use --cpu-shares or --cpus of the container";

pub(crate) const OPTIONS: &[Opt] = &[
    is(opt("add-runtime", "runtimes", Map, "Register another OCI runtime"), Refused(NO_RUNTIMES)),
    is(
        opt("allow-direct-routing", "allow-direct-routing", Bool, "Let others reach unpublished ports"),
        Only("false", "ports that are not published stay closed; publish them with -p"),
    ),
    is(
        opt(
            "allow-nondistributable-artifacts",
            "allow-nondistributable-artifacts",
            List,
            "Push foreign layers to these registries",
        ),
        Refused("foreign layers are never pushed; drop the option"),
    ),
    is(
        opt("api-cors-header", "api-cors-header", Text, "Set CORS headers in the API"),
        Refused("browsers are not let in; put a proxy that sets CORS headers before the socket"),
    ),
    is(
        opt("authorization-plugin", "authorization-plugins", List, "Authorization plugins to load"),
        Refused(NO_PLUGINS),
    ),
    opt("bip", "bip", Text, "Address and subnet of the default bridge, as 172.17.0.1/16"),
    is(opt("bip6", "bip6", Text, "IPv6 address of the default bridge"), Refused(NO_IPV6)),
    short(
        opt("bridge", "bridge", Text, "Attach containers to this bridge; \"none\" for no default network"),
        'b',
    ),
    is(
        opt("bridge-accept-fwmark", "bridge-accept-fwmark", Text, "Let marked packets into bridges"),
        Refused("packets are not let in by their mark; publish the port with -p"),
    ),
    is(
        opt("cdi-spec-dir", "cdi-spec-dirs", List, "Folders of CDI specifications"),
        Refused("CDI is not served; give containers their devices with --device"),
    ),
    opt("cgroup-parent", "cgroup-parent", Text, "Parent cgroup of all containers"),
    opt("config-file", "", Text, "Configuration file [default: /etc/docker/daemon.json]"),
    is(opt("containerd", "containerd", Text, "containerd's address"), Refused(NO_CONTAINERD)),
    is(
        opt("containerd-namespace", "containerd-namespace", Text, "containerd's namespace"),
        Refused(NO_CONTAINERD),
    ),
    is(
        opt(
            "containerd-plugins-namespace",
            "containerd-plugin-namespace",
            Text,
            "containerd's namespace for plugins",
        ),
        Refused(NO_CONTAINERD),
    ),
    is(opt("cpu-rt-period", "cpu-rt-period", Number, "Real-time period of all containers"), Refused(NO_RT)),
    is(
        opt("cpu-rt-runtime", "cpu-rt-runtime", Number, "Real-time runtime of all containers"),
        Refused(NO_RT),
    ),
    is(
        opt("cri-containerd", "cri-containerd", Bool, "Start containerd with CRI"),
        Only("false", NO_CONTAINERD),
    ),
    opt(
        "data-root",
        "data-root",
        Text,
        "Where images, containers and volumes are kept [default: /var/lib/docker]",
    ),
    short(opt("debug", "debug", Bool, "Log more"), 'D'),
    opt(
        "default-address-pool",
        "default-address-pools",
        List,
        "Subnets for new networks, as base=10.10.0.0/16,size=24",
    ),
    opt(
        "default-cgroupns-mode",
        "default-cgroupns-mode",
        Text,
        "cgroup namespace of containers: host or private",
    ),
    is(
        opt("default-gateway", "default-gateway", Text, "Default gateway of containers"),
        Refused("the bridge is the gateway; give it its address with --bip"),
    ),
    is(opt("default-gateway-v6", "default-gateway-v6", Text, "IPv6 gateway of containers"), Refused(NO_IPV6)),
    opt("default-ipc-mode", "default-ipc-mode", Text, "ipc namespace of containers: private or shareable"),
    opt(
        "default-network-opt",
        "default-network-opts",
        Nested,
        "Options of new networks by driver, as bridge=com.docker.network.driver.mtu=1400",
    ),
    is(opt("default-runtime", "default-runtime", Text, "Runtime of containers"), Only("runc", NO_RUNTIMES)),
    opt("default-shm-size", "default-shm-size", Text, "Size of /dev/shm in containers [default: 64MiB]"),
    opt("default-ulimit", "default-ulimits", List, "Ulimits of containers, as nofile=1024:2048"),
    opt("dns", "dns", List, "Name servers for containers"),
    opt("dns-opt", "dns-opts", List, "Resolver options for containers"),
    opt("dns-search", "dns-search", List, "Search domains for containers"),
    opt("exec-opt", "exec-opts", List, "Runtime options, as native.cgroupdriver=cgroupfs"),
    opt(
        "exec-root",
        "exec-root",
        Text,
        "Where the state of running containers is kept [default: /var/run/docker]",
    ),
    is(
        opt("experimental", "experimental", Bool, "Enable experimental features"),
        Only("false", "there are no experimental features; drop the option"),
    ),
    opt("feature", "features", Map, "Switch features on or off, as buildkit=false"),
    is(
        opt("firewall-backend", "firewall-backend", Text, "Firewall to use: nftables"),
        Only("nftables", "rules go to nftables; drop the option"),
    ),
    opt("fixed-cidr", "fixed-cidr", Text, "Part of the default bridge's subnet to hand out"),
    is(opt("fixed-cidr-v6", "fixed-cidr-v6", Text, "IPv6 subnet to hand out"), Refused(NO_IPV6)),
    short(opt("group", "group", Text, "Group that owns the unix socket [default: docker]"), 'G'),
    short(
        opt("host", "hosts", List, "Sockets to listen on, as unix:///run/docker.sock or tcp://0.0.0.0:2376"),
        'H',
    ),
    opt("host-gateway-ip", "host-gateway-ip", Text, "What host-gateway stands for in --add-host"),
    opt("http-proxy", "http-proxy", Text, "Proxy to registries without TLS [default: $HTTP_PROXY]"),
    opt("https-proxy", "https-proxy", Text, "Proxy to registries [default: $HTTPS_PROXY]"),
    opt("icc", "icc", Bool, "Let containers of the default bridge talk to each other [default: true]"),
    opt("init", "init", Bool, "Run an init in every container"),
    is(
        opt("init-path", "init-path", Text, "Path of the init"),
        Refused("the init is built in; use --init alone"),
    ),
    opt("insecure-registry", "insecure-registries", List, "Registries without TLS, as host:port or CIDR"),
    opt("ip", "ip", Text, "Address on which ports are published [default: 0.0.0.0]"),
    opt("ip-forward", "ip-forward", Bool, "Turn on forwarding of packets [default: true]"),
    is(
        opt("ip-forward-no-drop", "ip-forward-no-drop", Bool, "Leave the policy of forwarding alone"),
        Idle("the policy of the forward chain is never touched"),
    ),
    opt("ip-masq", "ip-masq", Bool, "Masquerade what containers send out [default: true]"),
    is(
        opt("ip6tables", "ip6tables", Bool, "Add rules for IPv6"),
        Idle("containers have no IPv6 addresses, so there is nothing to filter"),
    ),
    opt("iptables", "iptables", Bool, "Add firewall rules (through nftables) [default: true]"),
    is(opt("ipv6", "ipv6", Bool, "Enable IPv6 networking"), Only("false", NO_IPV6)),
    opt("label", "labels", List, "Labels of this engine, as key=value"),
    is(
        opt("live-restore", "live-restore", Bool, "Keep containers running without the engine"),
        Only("true", "containers always outlive the engine; drop the option"),
    ),
    opt(
        "log-driver",
        "log-driver",
        Text,
        "Where the output of containers goes: json-file, local or none [default: json-file]",
    ),
    is(
        opt("log-format", "log-format", Text, "Format of the engine's own log: text"),
        Only("text", "the log is text; let the journal give it out as JSON (journalctl -o json)"),
    ),
    short(opt("log-level", "log-level", Text, "debug, info, warn, error or fatal [default: info]"), 'l'),
    opt("log-opt", "log-opts", Map, "Options of the log driver, as max-size=10m"),
    opt("max-concurrent-downloads", "max-concurrent-downloads", Number, "Layers pulled at once [default: 3]"),
    opt("max-concurrent-uploads", "max-concurrent-uploads", Number, "Layers pushed at once [default: 5]"),
    opt("max-download-attempts", "max-download-attempts", Number, "Tries for each layer [default: 5]"),
    opt("metrics-addr", "metrics-addr", Text, "Serve Prometheus metrics on this address, as 127.0.0.1:9323"),
    opt("mtu", "mtu", Number, "MTU of containers' networks [default: 1500]"),
    is(
        opt(
            "network-control-plane-mtu",
            "network-control-plane-mtu",
            Number,
            "MTU of the swarm control plane",
        ),
        Idle("there is no swarm control plane"),
    ),
    is(
        opt("network-diagnostic-port", "network-diagnostic-port", Number, "Port of swarm's diagnostics"),
        Refused("there is no swarm network to diagnose; look at docker network inspect"),
    ),
    opt("no-new-privileges", "no-new-privileges", Bool, "Set no-new-privileges for containers"),
    opt("no-proxy", "no-proxy", Text, "Hosts reached without a proxy, by commas [default: $NO_PROXY]"),
    is(
        opt("node-generic-resource", "node-generic-resources", List, "Advertise resources to a swarm"),
        Refused("there is no swarm; use fleet metadata"),
    ),
    opt("oom-score-adjust", "oom-score-adjust", Number, "oom_score_adj of the engine"),
    short(
        opt("pidfile", "pidfile", Text, "Where the process id is written [default: /var/run/docker.pid]"),
        'p',
    ),
    is(opt("raw-logs", "raw-logs", Bool, "Log without colours"), Idle("logs have no colours")),
    opt("registry-mirror", "registry-mirrors", List, "Mirrors to try before Docker Hub, as https://mirror"),
    is(
        opt("rootless", "rootless", Bool, "Run without root"),
        Only("false", "rootless mode is not served; run engined as root"),
    ),
    opt("seccomp-profile", "seccomp-profile", Text, "Seccomp profile of containers: builtin or unconfined"),
    is(
        opt("selinux-enabled", "selinux-enabled", Bool, "Enable SELinux labels"),
        Only("false", "SELinux labels are not served; drop the option"),
    ),
    is(
        opt("shutdown-timeout", "shutdown-timeout", Number, "Seconds containers get when the engine stops"),
        Idle("containers run on when the engine stops"),
    ),
    short(opt("storage-driver", "storage-driver", Text, "Storage driver: overlay2"), 's'),
    opt("storage-opt", "storage-opts", List, "Options of the storage driver"),
    is(
        opt(
            "swarm-default-advertise-addr",
            "swarm-default-advertise-addr",
            Text,
            "Address advertised to a swarm",
        ),
        Idle("there is no swarm"),
    ),
    opt("tls", "tls", Bool, "Use TLS; implied by --tlsverify"),
    opt("tlscacert", "tlscacert", Text, "Trust clients with certificates of this CA"),
    opt("tlscert", "tlscert", Text, "The certificate"),
    opt("tlskey", "tlskey", Text, "The certificate's key"),
    opt("tlsverify", "tlsverify", Bool, "Use TLS and ask clients for a certificate"),
    is(
        opt("userland-proxy", "userland-proxy", Bool, "Publish on 127.0.0.1 with a proxy"),
        Idle("published ports need no proxy, also on 127.0.0.1"),
    ),
    is(
        opt("userland-proxy-path", "userland-proxy-path", Text, "Path of the proxy"),
        Refused("published ports need no proxy; drop the option"),
    ),
    is(
        opt("userns-remap", "userns-remap", Text, "Map users of containers to others"),
        Refused("user namespaces are not served yet; run containers with --user"),
    ),
    opt("validate", "", Bool, "Check the settings and exit"),
    // Old spellings, which help does not show.
    is(opt("cluster-advertise", "cluster-advertise", Text, ""), Refused(NO_CLUSTER_STORE)),
    is(opt("cluster-store", "cluster-store", Text, ""), Refused(NO_CLUSTER_STORE)),
    is(opt("cluster-store-opt", "cluster-store-opts", Map, ""), Refused(NO_CLUSTER_STORE)),
    is(
        opt("deprecated-key-path", "deprecated-key-path", Text, ""),
        Idle("the engine's id needs no key; it is kept in the data root"),
    ),
    is(
        opt("disable-legacy-registry", "disable-legacy-registry", Bool, ""),
        Only("true", "registries of version 1 are gone; drop the option"),
    ),
    short(
        is(
            opt("restart", "restart", Bool, ""),
            Only("true", "containers come back by their own policy; use docker run --restart"),
        ),
        'r',
    ),
    short(opt("graph", "graph", Text, ""), 'g'),
    short(is(opt("daemon", "", Bool, ""), Idle("the daemon is all that engined is")), 'd'),
];

/// Keys of daemon.json that are no flags.
pub(crate) const FILE_ONLY: &[Opt] = &[
    opt("host-gateway-ips", "host-gateway-ips", List, ""),
    is(opt("builder", "builder", Map, ""), Refused("BuildKit is not served; drop the key")),
    opt("proxies", "proxies", Map, ""),
];

pub(crate) fn by_key(key: &str) -> Option<&'static Opt> {
    OPTIONS.iter().chain(FILE_ONLY).find(|o| !o.key.is_empty() && o.key == key)
}
