//! Every flag of dockerd, one by one: it has its effect, or it is refused with the sentence that says what to
//! use. The effects on containers are tested with the program itself (`tests/it/settings.rs`).

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::table::{FILE_ONLY, Kind, OPTIONS, Opt};
use super::*;

/// The flags of dockerd, of release 20.10 and of those that came until 28, hidden ones too.
const DOCKERD: &str = "add-runtime allow-direct-routing allow-nondistributable-artifacts api-cors-header \
    authorization-plugin bip bip6 bridge bridge-accept-fwmark cdi-spec-dir cgroup-parent cluster-advertise \
    cluster-store cluster-store-opt config-file containerd containerd-namespace \
    containerd-plugins-namespace cpu-rt-period cpu-rt-runtime cri-containerd data-root debug \
    default-address-pool default-cgroupns-mode default-gateway default-gateway-v6 default-ipc-mode \
    default-network-opt default-runtime default-shm-size default-ulimit deprecated-key-path \
    disable-legacy-registry dns dns-opt dns-search exec-opt exec-root experimental feature \
    firewall-backend fixed-cidr fixed-cidr-v6 graph group host host-gateway-ip http-proxy https-proxy icc \
    init init-path insecure-registry ip ip-forward ip-forward-no-drop ip-masq ip6tables iptables ipv6 label \
    live-restore log-driver log-format log-level log-opt max-concurrent-downloads max-concurrent-uploads \
    max-download-attempts metrics-addr mtu network-control-plane-mtu network-diagnostic-port \
    no-new-privileges no-proxy node-generic-resource oom-score-adjust pidfile raw-logs registry-mirror \
    restart rootless seccomp-profile selinux-enabled shutdown-timeout storage-driver storage-opt \
    swarm-default-advertise-addr tls tlscacert tlscert tlskey tlsverify userland-proxy \
    userland-proxy-path userns-remap validate";

enum Outcome {
    Effect(fn(&Config) -> bool),
    /// Taken; the log says why there is nothing to do.
    Note(&'static str),
    Refused(&'static str),
    /// It is what engined does anyway.
    Same,
}
use Outcome::{Effect, Note, Refused, Same};

fn list(items: &[String], want: &[&str]) -> bool {
    items.iter().map(String::as_str).eq(want.iter().copied())
}

/// Flag, value, what becomes of it.
const WALK: &[(&str, &str, Outcome)] = &[
    ("add-runtime", "crun=/usr/bin/crun", Refused("engined runs containers itself")),
    ("allow-direct-routing", "false", Same),
    ("allow-direct-routing", "true", Refused("publish them with -p")),
    ("allow-nondistributable-artifacts", "x", Refused("foreign layers are never pushed")),
    ("api-cors-header", "*", Refused("put a proxy that sets CORS headers")),
    ("authorization-plugin", "x", Refused("restrict access with client certificates (--tlsverify)")),
    ("bip", "10.9.0.1/24", Effect(|c| c.bip.as_deref() == Some("10.9.0.1/24"))),
    ("bip6", "fd00::1/64", Refused("IPv6 is not served yet")),
    ("bridge", "none", Effect(|c| c.bridge.as_deref() == Some("none"))),
    ("bridge-accept-fwmark", "1", Refused("publish the port with -p")),
    ("cdi-spec-dir", "/etc/cdi", Refused("give containers their devices with --device")),
    ("cgroup-parent", "/p", Effect(|c| c.cgroup_parent.as_deref() == Some("/p"))),
    ("cluster-advertise", "x", Refused("use kv")),
    ("cluster-store", "x", Refused("use kv")),
    ("cluster-store-opt", "a=b", Refused("use kv")),
    ("containerd", "/run/c.sock", Refused("needs no containerd; drop the option")),
    ("containerd-namespace", "x", Refused("needs no containerd; drop the option")),
    ("containerd-plugins-namespace", "x", Refused("needs no containerd; drop the option")),
    ("cpu-rt-period", "1000", Refused("use --cpu-shares or --cpus of the container")),
    ("cpu-rt-period", "0", Same),
    ("cpu-rt-runtime", "1000", Refused("use --cpu-shares or --cpus of the container")),
    ("cri-containerd", "true", Refused("needs no containerd")),
    ("data-root", "/d", Effect(|c| c.data_root == Path::new("/d"))),
    ("debug", "true", Effect(|c| c.debug)),
    (
        "default-address-pool",
        "base=10.10.0.0/16,size=24",
        Effect(|c| c.address_pools[0].base == "10.10.0.0/16" && c.address_pools[0].size == 24),
    ),
    ("default-cgroupns-mode", "private", Effect(|c| c.cgroupns_mode.as_deref() == Some("private"))),
    ("default-cgroupns-mode", "x", Refused("default cgroup namespace mode (x) is invalid; use \"host\" or")),
    ("default-gateway", "10.0.0.1", Refused("give it its address with --bip")),
    ("default-gateway-v6", "fd00::1", Refused("IPv6 is not served yet")),
    ("default-ipc-mode", "shareable", Effect(|c| c.ipc_mode == "shareable")),
    ("default-ipc-mode", "host", Refused("use \"shareable\" or \"private\"")),
    (
        "default-network-opt",
        "bridge=com.docker.network.driver.mtu=1400",
        Effect(|c| c.network_opts["bridge"]["com.docker.network.driver.mtu"] == "1400"),
    ),
    ("default-network-opt", "x", Refused("it is written name=key=value")),
    ("default-runtime", "runc", Same),
    ("default-runtime", "crun", Refused("engined runs containers itself")),
    ("default-shm-size", "8m", Effect(|c| c.shm_size == 8 << 20)),
    ("default-shm-size", "abc", Refused("for \"--default-shm-size\" flag: invalid size: 'abc'")),
    ("default-ulimit", "nofile=5:9", Effect(|c| (c.ulimits[0].soft, c.ulimits[0].hard) == (5, 9))),
    ("default-ulimit", "nope=1", Refused("invalid ulimit type: nope")),
    ("deprecated-key-path", "/k", Note("the engine's id needs no key")),
    ("disable-legacy-registry", "true", Same),
    ("disable-legacy-registry", "false", Refused("registries of version 1 are gone")),
    ("dns", "9.9.9.9", Effect(|c| list(&c.dns, &["9.9.9.9"]))),
    ("dns-opt", "ndots:2", Effect(|c| list(&c.dns_options, &["ndots:2"]))),
    ("dns-search", "example.com", Effect(|c| list(&c.dns_search, &["example.com"]))),
    ("dns-search", "ex..com", Refused("ex..com is not a valid domain")),
    ("exec-opt", "native.cgroupdriver=cgroupfs", Same),
    ("exec-opt", "native.cgroupdriver=systemd", Refused("engined manages cgroups itself")),
    ("exec-root", "/e", Effect(|c| c.exec_root == Path::new("/e"))),
    ("experimental", "true", Refused("there are no experimental features")),
    ("feature", "buildkit=false", Same),
    ("feature", "buildkit=true", Refused("the classic builder builds images; set it to false")),
    ("feature", "containerd-snapshotter=true", Refused("set it to false, or drop it")),
    ("firewall-backend", "nftables", Same),
    ("firewall-backend", "iptables", Refused("rules go to nftables; drop the option")),
    ("fixed-cidr", "172.17.1.0/24", Effect(|c| c.fixed_cidr.as_deref() == Some("172.17.1.0/24"))),
    ("fixed-cidr-v6", "fd00::/64", Refused("IPv6 is not served yet")),
    ("graph", "/g", Effect(|c| c.data_root == Path::new("/g"))),
    ("group", "staff", Effect(|c| c.group.as_deref() == Some("staff"))),
    ("host", "unix:///s", Effect(|c| c.hosts == [Host::Unix("/s".into())])),
    ("host", "fd://", Refused("use unix:///run/docker.sock")),
    ("host", "tcp://0.0.0.0:2375", Refused("use --tlsverify with --tlscacert, --tlscert and --tlskey")),
    ("host-gateway-ip", "10.0.0.7", Effect(|c| c.host_gateway == "10.0.0.7".parse().ok())),
    ("http-proxy", "http://p:3128", Effect(|c| c.proxies.http == "http://p:3128")),
    ("https-proxy", "http://q:3128", Effect(|c| c.proxies.https == "http://q:3128")),
    ("icc", "false", Effect(|c| !c.icc)),
    ("init", "true", Effect(|c| c.init)),
    ("init-path", "/i", Refused("the init is built in; use --init alone")),
    ("insecure-registry", "http://r:5000", Effect(|c| list(&c.insecure_registries, &["r:5000"]))),
    ("ip", "127.0.0.1", Effect(|c| c.ip.is_loopback())),
    ("ip", "x", Refused("invalid argument \"x\" for \"--ip\" flag: x is not an ip address")),
    ("ip-forward", "false", Effect(|c| !c.ip_forward)),
    ("ip-forward-no-drop", "true", Note("the policy of the forward chain is never touched")),
    ("ip-masq", "false", Effect(|c| !c.ip_masq)),
    ("ip6tables", "true", Note("containers have no IPv6 addresses")),
    ("iptables", "false", Effect(|c| !c.firewall)),
    ("ipv6", "true", Refused("IPv6 is not served yet")),
    ("label", "a=b", Effect(|c| list(&c.labels, &["a=b"]))),
    ("live-restore", "true", Same),
    ("live-restore", "false", Refused("containers always outlive the engine")),
    ("log-driver", "none", Effect(|c| c.log_driver == "none")),
    ("log-driver", "local", Effect(|c| c.log_driver == "local")),
    ("log-driver", "syslog", Refused("use json-file, local or none")),
    ("log-format", "text", Same),
    ("log-format", "json", Refused("journalctl -o json")),
    ("log-level", "warn", Effect(|c| c.log_level == "warn")),
    ("log-opt", "max-size=5m", Effect(|c| c.log_opts["max-size"] == "5m")),
    ("max-concurrent-downloads", "7", Effect(|c| c.downloads == 7)),
    ("max-concurrent-downloads", "-1", Refused("invalid max concurrent downloads: -1")),
    ("max-concurrent-uploads", "7", Effect(|c| c.uploads == 7)),
    ("max-download-attempts", "9", Effect(|c| c.attempts == 9)),
    ("max-download-attempts", "0", Refused("invalid max download attempts: 0")),
    ("metrics-addr", "127.0.0.1:9323", Effect(|c| c.metrics.is_some_and(|m| m.port() == 9323))),
    ("mtu", "1400", Effect(|c| c.mtu == 1400)),
    ("mtu", "-5", Refused("invalid default MTU: -5")),
    ("network-control-plane-mtu", "1400", Note("there is no swarm control plane")),
    ("network-diagnostic-port", "9999", Refused("look at docker network inspect")),
    ("no-new-privileges", "true", Effect(|c| c.no_new_privileges)),
    ("no-proxy", "a,10.0.0.0/8", Effect(|c| c.proxies.except == "a,10.0.0.0/8")),
    ("node-generic-resource", "gpu=1", Refused("use fleet metadata")),
    ("oom-score-adjust", "-5", Effect(|c| c.oom_score_adjust == Some(-5))),
    ("pidfile", "/p", Effect(|c| c.pidfile == Path::new("/p"))),
    ("raw-logs", "true", Note("logs have no colours")),
    ("registry-mirror", "https://m", Effect(|c| list(&c.registry_mirrors, &["https://m"]))),
    ("restart", "true", Same),
    ("restart", "false", Refused("use docker run --restart")),
    ("rootless", "true", Refused("run engined as root")),
    ("seccomp-profile", "builtin", Effect(|c| !c.seccomp_unconfined)),
    ("seccomp-profile", "unconfined", Effect(|c| c.seccomp_unconfined)),
    ("seccomp-profile", "/p.json", Refused("use builtin, or unconfined for no filter at all")),
    ("selinux-enabled", "true", Refused("SELinux labels are not served")),
    ("shutdown-timeout", "5", Note("containers run on when the engine stops")),
    ("storage-driver", "overlay2", Same),
    ("storage-driver", "btrfs", Refused("use overlay2")),
    ("storage-opt", "overlay2.override_kernel_check=true", Same),
    ("storage-opt", "overlay2.size=1G", Refused("by the file system of the data root")),
    ("swarm-default-advertise-addr", "x", Note("there is no swarm")),
    ("tls", "true", Effect(|c| c.tls.as_ref().is_some_and(|t| t.client_ca.is_none()))),
    ("tlsverify", "true", Effect(|c| c.tls.as_ref().is_some_and(|t| t.client_ca.is_some()))),
    ("userland-proxy", "true", Note("published ports need no proxy")),
    ("userland-proxy-path", "/p", Refused("published ports need no proxy")),
    ("userns-remap", "default", Refused("run containers with --user")),
    ("validate", "true", Effect(|c| c.validate)),
];

fn try_load(flags: &[String], file: &Value) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("daemon.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let mut args = vec!["engined".to_owned(), format!("--config-file={}", path.display())];
    args.extend(flags.iter().cloned());
    load(args.into_iter().map(Into::into).collect()).map_err(|e| e.to_string())
}

fn judge_outcome(what: &str, got: Result<Config, String>, wanted: &Outcome) {
    match (got, wanted) {
        (Ok(config), Effect(there)) => assert!(there(&config), "{what}: no effect"),
        (Ok(config), Note(text)) => {
            assert!(config.notes.iter().any(|n| n.contains(text)), "{what}: {:?}", config.notes);
        }
        (Ok(config), Same) => assert!(config.notes.is_empty(), "{what}: {:?}", config.notes),
        (Ok(_), Refused(_)) => panic!("{what} is taken"),
        (Err(said), Refused(text)) => {
            assert!(said.contains(text), "{what}: {said}");
            let sentence = said.trim_end_matches("\nSee 'engined --help'.");
            assert!(!sentence.contains('\n'), "{what} is refused in more than one line: {said}");
        }
        (Err(said), _) => panic!("{what} is refused: {said}"),
    }
}

#[test]
fn every_flag_works_or_says_what_to_use() {
    for (flag, value, wanted) in WALK {
        judge_outcome(
            &format!("--{flag}={value}"),
            try_load(&[format!("--{flag}={value}")], &json!({})),
            wanted,
        );
    }
}

#[test]
fn every_key_of_the_file_does_as_its_flag() {
    let option = |flag: &str| OPTIONS.iter().find(|o| o.flag == flag).unwrap();
    for (flag, value, wanted) in WALK {
        let option = option(flag);
        // What is wrong with a flag is told otherwise; the words for it are the flag's.
        let own_words =
            matches!(wanted, Refused(text) if text.contains("flag:") || text.contains("name=key"));
        if option.key.is_empty() || own_words {
            continue;
        }
        let file = json!({ option.key: in_file(option, value) });
        judge_outcome(&file.to_string(), try_load(&[], &file), wanted);
    }
}

fn in_file(option: &Opt, value: &str) -> Value {
    let object = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        json!({ key: value })
    };
    match (option.flag, option.kind) {
        ("default-address-pool", _) => json!([{ "base": "10.10.0.0/16", "size": 24 }]),
        (_, Kind::Bool) => json!(value == "true"),
        (_, Kind::Number) => json!(value.parse::<i64>().unwrap()),
        (_, Kind::Text) => json!(value),
        (_, Kind::List) => json!([value]),
        (_, Kind::Map) => object(value),
        (_, Kind::Nested) => {
            let (name, rest) = value.split_once('=').unwrap();
            json!({ name: object(rest) })
        }
    }
}

#[test]
fn keys_that_are_no_flags() {
    let cases: [(Value, Outcome); 6] = [
        (json!({ "proxies": { "http-proxy": "http://p" } }), Effect(|c| c.proxies.http == "http://p")),
        (json!({ "proxies": { "x": "y" } }), Refused("don't match any configuration option: x")),
        (
            json!({ "host-gateway-ips": ["fd00::1", "10.0.0.9"] }),
            Effect(|c| c.host_gateway == "10.0.0.9".parse().ok()),
        ),
        (
            json!({ "builder": { "gc": { "enabled": true } } }),
            Refused("BuildKit is not served; drop the key"),
        ),
        (json!({ "builder": {}, "runtimes": {}, "containerd": "" }), Same),
        (
            json!({ "default-ulimits": { "nofile": { "Name": "nofile", "Soft": 5, "Hard": 9 } } }),
            Effect(|c| c.ulimits[0].hard == 9),
        ),
    ];
    for (file, wanted) in cases {
        judge_outcome(&file.to_string(), try_load(&[], &file), &wanted);
    }
}

#[test]
fn no_flag_is_forgotten() {
    let known: BTreeSet<&str> = OPTIONS.iter().map(|o| o.flag).collect();
    let theirs: BTreeSet<&str> = DOCKERD.split_whitespace().collect();
    let missing: Vec<_> = theirs.difference(&known).collect();
    assert!(missing.is_empty(), "flags of dockerd that are unknown here: {missing:?}");
    // They take part in --tls, or are tried elsewhere.
    let elsewhere = ["config-file", "tlscacert", "tlscert", "tlskey", "daemon"];
    let walked: BTreeSet<&str> = WALK.iter().map(|w| w.0).chain(elsewhere).collect();
    let left: Vec<_> = known.difference(&walked).collect();
    assert!(left.is_empty(), "flags that nobody tried: {left:?}");
    for option in OPTIONS.iter().chain(FILE_ONLY) {
        if let Support::Refused(sentence) | Support::Only(_, sentence) = option.support {
            assert!(sentence.len() > 20, "{}: what is to be used instead?", option.flag);
        }
    }
}
