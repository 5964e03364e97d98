//! A cluster as rmachine keeps it: who belongs to it and under which address, and what each machine
//! is told of the others.
//!
//! A machine **founds** the cluster when no kv member of it has ever served; whoever comes later
//! **joins**: it is made known to the members first, learns, and then votes. A member that comes back
//! with an empty disk is a new one and joins as well, after its old self was removed: an id that kv
//! has seen must never return without its log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use machine_types::MachineName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ignition::{SPEC_VERSION, file};

/// Layout of `cluster.json` that this version writes.
pub const CLUSTER_VERSION: u32 = 1;
/// Last bytes of addresses that machines get.
const HOSTS: std::ops::RangeInclusive<u8> = 10..=250;

/// What `cluster.json` keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// [`CLUSTER_VERSION`] of the writer.
    pub version: u32,
    /// Its name.
    pub name: MachineName,
    /// RFC 3339.
    pub created: String,
    /// Keeps two clusters of the same addresses apart; no secret.
    pub token: String,
    /// The network of its switch, a /24.
    pub network: Ipv4Addr,
    /// Where its first machines found each other, or empty: rmachine told them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub discovery: String,
    /// Everybody, by name.
    pub members: BTreeMap<MachineName, Member>,
}

/// One machine of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its address on the switch.
    pub address: Ipv4Addr,
    /// Which machine it is, once it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Uuid>,
    /// Whether it is one of those that the cluster begins with.
    pub founder: bool,
    /// Whether its kv has served once.
    pub complete: bool,
    /// Whether it has no kv of its own: it booted from the network and only runs units.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub worker: bool,
    /// Its hardware address, where that does not follow from its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// Why a machine cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// The /24 is used up.
    #[error("cluster `{0}` has no address left for another machine")]
    Full(MachineName),
    /// The discovery list is used up.
    #[error("the discovery of cluster `{cluster}` names {count} machines; `{name}` would be one more")]
    Unlisted {
        /// Which cluster.
        cluster: MachineName,
        /// How many there are.
        count: usize,
        /// The one too many.
        name: MachineName,
    },
}

/// How a machine gets into its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// With the others, all at once.
    Found,
    /// Made known to the members first.
    Join,
    /// As `Join`, and its old self is removed before.
    Replace,
}

impl Cluster {
    /// An empty one.
    #[must_use]
    pub fn new(name: MachineName, created: String, token: String, network: Ipv4Addr) -> Self {
        let members = BTreeMap::new();
        Self { version: CLUSTER_VERSION, name, created, token, network, discovery: String::new(), members }
    }

    /// Whether a kv member of it has ever served.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        self.members.values().any(|member| member.complete)
    }

    /// Takes a machine in; `listed` are the addresses that a discovery list gives to founders, in order.
    ///
    /// # Errors
    /// No address is left for it.
    pub fn admit(&mut self, name: &MachineName, listed: &[Ipv4Addr]) -> Result<Entry, AdmitError> {
        let founded = self.is_founded();
        if let Some(member) = self.members.get_mut(name) {
            return Ok(match (member.complete, founded, member.founder) {
                (true, ..) => {
                    (member.founder, member.complete) = (false, false);
                    // The last one of a cluster has nobody to join.
                    if self.is_founded() {
                        Entry::Replace
                    } else {
                        self.members.get_mut(name).expect("it was just there").founder = true;
                        Entry::Found
                    }
                }
                (false, true, false) => Entry::Replace,
                (false, true, true) => Entry::Found,
                (false, false, _) => {
                    member.founder = true;
                    Entry::Found
                }
            });
        }
        let taken: Vec<Ipv4Addr> = self.members.values().map(|member| member.address).collect();
        let free = |address: &Ipv4Addr| !taken.contains(address);
        let address = if listed.is_empty() || founded {
            self.free()?
        } else {
            let unlisted = || AdmitError::Unlisted {
                cluster: self.name.clone(),
                count: listed.len(),
                name: name.clone(),
            };
            *listed.iter().find(|address| free(address)).ok_or_else(unlisted)?
        };
        let member =
            Member { address, machine: None, founder: !founded, complete: false, worker: false, mac: None };
        self.members.insert(name.clone(), member);
        Ok(if founded { Entry::Join } else { Entry::Found })
    }

    /// Takes in a machine that only runs units, under its hardware address; answers its address.
    ///
    /// # Errors
    /// No address is left for it.
    pub fn admit_worker(&mut self, name: &MachineName, mac: &str) -> Result<Ipv4Addr, AdmitError> {
        let known = self.members.get_mut(name).filter(|member| member.worker);
        if let Some(member) = known {
            member.mac = Some(mac.to_owned());
            return Ok(member.address);
        }
        let address = self.free()?;
        let member = Member {
            address,
            machine: None,
            founder: false,
            complete: false,
            worker: true,
            mac: Some(mac.to_owned()),
        };
        self.members.insert(name.clone(), member);
        Ok(address)
    }

    fn free(&self) -> Result<Ipv4Addr, AdmitError> {
        let [a, b, c, _] = self.network.octets();
        let mut all = HOSTS.map(|last| Ipv4Addr::new(a, b, c, last));
        let is_free = |address: &Ipv4Addr| !self.members.values().any(|member| member.address == *address);
        all.find(is_free).ok_or_else(|| AdmitError::Full(self.name.clone()))
    }

    /// The members whose kv may be told of, as `NAME`, address; without `except`.
    pub fn others<'a>(
        &'a self,
        except: &'a MachineName,
    ) -> impl Iterator<Item = (&'a MachineName, &'a Member)> {
        self.members.iter().filter(move |(name, member)| *name != except && member.complete)
    }

    /// The founders as `NAME`, address. Addresses of `listed` that nobody has yet stand for those who
    /// are still to come; a member's id follows from its address, so their names do not matter.
    #[must_use]
    pub fn founders(&self, listed: &[Ipv4Addr]) -> Vec<(String, Ipv4Addr)> {
        let mut founders: Vec<(String, Ipv4Addr)> = self
            .members
            .iter()
            .filter(|(_, member)| member.founder)
            .map(|(name, member)| (name.to_string(), member.address))
            .collect();
        for address in listed {
            if !founders.iter().any(|(_, known)| known == address) {
                founders.push((format!("machine-{}", address.octets()[3]), *address));
            }
        }
        founders
    }
}

/// How a machine's kv member finds the others at its first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bootstrap {
    /// These found the cluster.
    Founders(Vec<(String, Ipv4Addr)>),
    /// A discovery service tells who founds it.
    Discovery(String),
    /// These are members already, and know of the machine.
    Existing(Vec<(String, Ipv4Addr)>),
}

/// What a machine is told about its cluster.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// Its name.
    pub name: &'a MachineName,
    /// Its address on the cluster's network.
    pub address: Ipv4Addr,
    /// How its kv begins; a machine without one only runs units.
    pub bootstrap: Option<&'a Bootstrap>,
    /// The cluster's token.
    pub token: &'a str,
    /// Milliseconds between heartbeats; ten of them missed are an election.
    pub heartbeat_ms: u32,
    /// `key=value` that units may ask for.
    pub metadata: &'a [String],
    /// Addresses of other members, for when its own is down.
    pub others: &'a [Ipv4Addr],
    /// The cluster's authority, PEM.
    pub ca: &'a str,
    /// How the machine proves that it belongs to the cluster.
    pub proof: Proof<'a>,
    /// What only machines have that let others in.
    pub authority: Option<Authority<'a>>,
}

/// How a machine proves that it belongs to its cluster.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// By a certificate that was made for it. Only for configs that nobody else can read on their way.
    Made {
        /// The certificate, PEM.
        cert: &'a str,
        /// Its key, PEM.
        key: &'a str,
    },
    /// By none yet: it makes a key on board, and a member signs what it says of it.
    Invited {
        /// A join token that works once, for this machine.
        token: &'a str,
    },
}

/// A cluster's authority as its managers have it.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// Its key, PEM.
    pub key: &'a str,
    /// Its list of revoked certificates, PEM; fleetd writes the next ones.
    pub revoked: &'a str,
}

/// The part of a machine's Ignition config that makes it a member.
#[must_use]
pub fn config(part: &Part<'_>) -> Value {
    let environment = format!(
        "COREOS_PRIVATE_IPV4={0}\nCOREOS_PUBLIC_IPV4={0}\nETCDCTL_API=3\n\
         ETCDCTL_ENDPOINTS={1}\nETCDCTL_CACERT=/var/lib/fleet/tls/ca.pem\n\
         ETCDCTL_CERT=/var/lib/fleet/tls/cert.pem\nETCDCTL_KEY=/var/lib/fleet/tls/key.pem\n",
        part.address,
        servers(part).join(","),
    );
    let mut files = vec![
        file("/var/lib/fleet/tls/ca.pem", 0o644, part.ca),
        file("/etc/fleet/fleet.conf", 0o644, &fleet_conf(part)),
        file("/etc/environment", 0o644, &environment),
    ];
    let mut units = vec![json!({ "name": "fleet.service", "enabled": true })];
    match part.proof {
        Proof::Made { cert, key } => files.extend([
            file("/var/lib/fleet/tls/cert.pem", 0o644, cert),
            file("/var/lib/fleet/tls/key.pem", 0o600, key),
            // Both in one file: what fleetd renews when their time comes.
            file("/var/lib/fleet/tls/identity.pem", 0o600, &format!("{cert}{key}")),
        ]),
        Proof::Invited { token } => {
            files.push(file(INVITATION, 0o600, &format!("FLEETCTL_JOIN_TOKEN={token}\n")));
            units.push(json!({ "name": JOIN_UNIT, "enabled": true, "contents": join_unit(part) }));
        }
    }
    if let Some(bootstrap) = part.bootstrap {
        files.push(file("/etc/kv.env", 0o644, &kv_environment(part, bootstrap)));
        units.push(json!({ "name": "kv.service", "enabled": true }));
    }
    if let Some(authority) = part.authority {
        files.push(file("/var/lib/fleet/tls/ca-key.pem", 0o600, authority.key));
        files.push(file("/var/lib/fleet/tls/crl.pem", 0o644, authority.revoked));
        let setting = "FLEET_AUTHORITY_KEY_FILE=/var/lib/fleet/tls/ca-key.pem\n";
        files.push(file("/etc/fleet.env", 0o644, setting));
    }
    json!({
        "ignition": { "version": SPEC_VERSION },
        "storage": { "files": files },
        "systemd": { "units": units },
    })
}

/// Where an invited machine finds its token, until it has used it.
const INVITATION: &str = "/etc/fleet/invitation.env";
/// What brings an invited machine its certificate; units that need that come after it.
pub const JOIN_UNIT: &str = "fleet-join.service";

fn join_unit(part: &Part<'_>) -> String {
    let members: Vec<String> = part.others.iter().map(|address| format!("{address}:49153")).collect();
    format!(
        "[Unit]\nDescription=Joining the cluster\nAfter=network-online.target\nWants=network-online.target\n\
         Before=fleet.service\nConditionPathExists=!/var/lib/fleet/tls/identity.pem\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nEnvironmentFile={INVITATION}\n\
         ExecStart=/usr/bin/fleetctl join --keep-asking --timeout 600 --name {} --name {} {}\n\
         ExecStartPost=/bin/rm -f {INVITATION}\n\n[Install]\nWantedBy=multi-user.target\n",
        part.name,
        part.address,
        members.join(" "),
    )
}

/// Where the machine finds kv: its own first, then the others.
fn servers(part: &Part<'_>) -> Vec<String> {
    let own = part.bootstrap.map(|_| "https://127.0.0.1:2379".to_owned());
    own.into_iter().chain(part.others.iter().map(|address| format!("https://{address}:2379"))).collect()
}

/// kvd's settings as `ETCD_*` lines: TLS on every port, and a certificate asked of everybody.
fn kv_environment(part: &Part<'_>, bootstrap: &Bootstrap) -> String {
    let list = |members: &[(String, Ipv4Addr)]| {
        let urls: Vec<String> =
            members.iter().map(|(name, at)| format!("{name}=https://{at}:2380")).collect();
        urls.join(",")
    };
    let own = (part.name.to_string(), part.address);
    let (state, found) = match bootstrap {
        Bootstrap::Founders(all) => ("new", format!("ETCD_INITIAL_CLUSTER={}", list(all))),
        Bootstrap::Discovery(url) => ("new", format!("ETCD_DISCOVERY={url}")),
        Bootstrap::Existing(others) => {
            let all = [others.as_slice(), std::slice::from_ref(&own)].concat();
            ("existing", format!("ETCD_INITIAL_CLUSTER={}", list(&all)))
        }
    };
    let mut text = format!("{found}\nETCD_INITIAL_CLUSTER_STATE={state}\n");
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "ETCD_{name}={value}").expect("strings take everything");
    };
    line("NAME", part.name);
    line("INITIAL_CLUSTER_TOKEN", &part.token);
    line("LISTEN_PEER_URLS", &"https://0.0.0.0:2380");
    line("LISTEN_CLIENT_URLS", &"https://0.0.0.0:2379");
    line("INITIAL_ADVERTISE_PEER_URLS", &format!("https://{}:2380", part.address));
    line("ADVERTISE_CLIENT_URLS", &format!("https://{}:2379", part.address));
    line("HEARTBEAT_INTERVAL", &part.heartbeat_ms);
    line("ELECTION_TIMEOUT", &(part.heartbeat_ms * 10));
    for side in ["", "PEER_"] {
        line(&format!("{side}CERT_FILE"), &"/var/lib/fleet/tls/cert.pem");
        line(&format!("{side}KEY_FILE"), &"/var/lib/fleet/tls/key.pem");
        line(&format!("{side}TRUSTED_CA_FILE"), &"/var/lib/fleet/tls/ca.pem");
        line(&format!("{side}CLIENT_CERT_AUTH"), &"true");
    }
    if part.authority.is_some() {
        line("CLIENT_CRL_FILE", &"/var/lib/fleet/tls/crl.pem");
        line("PEER_CRL_FILE", &"/var/lib/fleet/tls/crl.pem");
    }
    text
}

fn fleet_conf(part: &Part<'_>) -> String {
    let servers: Vec<String> = servers(part).iter().map(|url| format!("\"{url}\"")).collect();
    let pairs: Vec<&str> =
        part.metadata.iter().map(String::as_str).filter(|pair| pair.contains('=')).collect();
    format!(
        "etcd_servers = [{}]\netcd_cafile = /var/lib/fleet/tls/ca.pem\netcd_certfile = /var/lib/fleet/tls/cert.pem\n\
         etcd_keyfile = /var/lib/fleet/tls/key.pem\ntls_ca_file = /var/lib/fleet/tls/ca.pem\n\
         tls_cert_file = /var/lib/fleet/tls/cert.pem\ntls_key_file = /var/lib/fleet/tls/key.pem\n\
         listen = [\"/run/fleet.sock\", \"0.0.0.0:49153\"]\npublic_ip = {}\n\
         etcd_request_timeout = 5\nmetadata = {}\n",
        servers.join(", "),
        part.address,
        pairs.join(","),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MachineName {
        text.parse().expect("a name")
    }

    fn empty() -> Cluster {
        Cluster::new(name("demo"), String::new(), "t".into(), Ipv4Addr::new(10, 66, 5, 0))
    }

    #[test]
    fn the_first_ones_found_and_later_ones_join() {
        let mut cluster = empty();
        assert_eq!(cluster.admit(&name("a"), &[]), Ok(Entry::Found));
        assert_eq!(cluster.admit(&name("b"), &[]), Ok(Entry::Found));
        assert_eq!(cluster.founders(&[]).len(), 2);
        // An interrupted create comes again.
        assert_eq!(cluster.admit(&name("a"), &[]), Ok(Entry::Found));
        cluster.members.get_mut(&name("a")).expect("a").complete = true;
        assert_eq!(cluster.admit(&name("b"), &[]), Ok(Entry::Found), "it never served: it still founds");
        cluster.members.get_mut(&name("b")).expect("b").complete = true;
        assert_eq!(cluster.admit(&name("c"), &[]), Ok(Entry::Join));
        assert_eq!(cluster.members[&name("c")].address, Ipv4Addr::new(10, 66, 5, 12));
        assert_eq!(cluster.admit(&name("b"), &[]), Ok(Entry::Replace), "its old self must go");
        assert_eq!(cluster.admit(&name("b"), &[]), Ok(Entry::Replace), "also when that was interrupted");
        assert_eq!(cluster.others(&name("b")).count(), 1);
    }

    #[test]
    fn a_cluster_of_one_that_lost_it_begins_again() {
        let mut cluster = empty();
        cluster.admit(&name("a"), &[]).expect("room");
        cluster.members.get_mut(&name("a")).expect("a").complete = true;
        assert_eq!(cluster.admit(&name("a"), &[]), Ok(Entry::Found));
    }

    #[test]
    fn a_discovery_list_says_who_founds() {
        let listed: Vec<Ipv4Addr> = [20, 21].map(|last| Ipv4Addr::new(10, 66, 5, last)).to_vec();
        let mut cluster = empty();
        cluster.admit(&name("a"), &listed).expect("listed");
        assert_eq!(
            cluster.founders(&listed),
            [("a".to_owned(), listed[0]), ("machine-21".to_owned(), listed[1])]
        );
        cluster.admit(&name("b"), &listed).expect("listed");
        assert!(matches!(cluster.admit(&name("c"), &listed), Err(AdmitError::Unlisted { count: 2, .. })));
    }

    #[test]
    fn no_port_of_a_member_is_without_tls_and_its_key_is_secret() {
        let bootstrap = Bootstrap::Existing(vec![("b".into(), Ipv4Addr::new(10, 66, 5, 11))]);
        let part = Part {
            name: &name("a"),
            address: Ipv4Addr::new(10, 66, 5, 10),
            bootstrap: Some(&bootstrap),
            token: "t",
            heartbeat_ms: 250,
            metadata: &["zone=a".into(), "odd".into()],
            others: &[Ipv4Addr::new(10, 66, 5, 11)],
            ca: "CA",
            proof: Proof::Made { cert: "CERT", key: "KEY" },
            authority: Some(Authority { key: "CA KEY", revoked: "LIST" }),
        };
        let env = kv_environment(&part, &bootstrap);
        assert!(env.contains("ETCD_INITIAL_CLUSTER=b=https://10.66.5.11:2380,a=https://10.66.5.10:2380\n"));
        assert!(env.contains("ETCD_INITIAL_CLUSTER_STATE=existing\n"), "{env}");
        assert!(!env.contains("http://"), "{env}");
        assert!(env.contains("ETCD_CLIENT_CRL_FILE=/var/lib/fleet/tls/crl.pem\n"), "{env}");
        assert!(fleet_conf(&part).contains("metadata = zone=a\n"));
        let config = config(&part);
        for file in config["storage"]["files"].as_array().expect("files") {
            let path = file["path"].as_str().expect("a path");
            let is_secret = path.ends_with("key.pem") || path.ends_with("identity.pem");
            assert_eq!(file["mode"] == 0o600, is_secret, "{file}");
        }
    }

    #[test]
    fn an_invited_machine_is_told_no_key() {
        let part = Part {
            name: &name("metal1"),
            address: Ipv4Addr::new(10, 66, 5, 20),
            bootstrap: None,
            token: "t",
            heartbeat_ms: 0,
            metadata: &[],
            others: &[Ipv4Addr::new(10, 66, 5, 10), Ipv4Addr::new(10, 66, 5, 11)],
            ca: "CA",
            proof: Proof::Invited { token: "SWMTKN-1-a-b" },
            authority: None,
        };
        let config = config(&part);
        let files = config["storage"]["files"].as_array().expect("files");
        let paths: Vec<&str> = files.iter().filter_map(|file| file["path"].as_str()).collect();
        assert!(paths.iter().all(|path| !path.ends_with("key.pem") && !path.ends_with("identity.pem")));
        let token = files.iter().find(|file| file["path"] == INVITATION).expect("the token");
        assert_eq!(token["mode"], 0o600);
        let unit = config["systemd"]["units"].as_array().and_then(|units| units.last()).expect("a unit");
        assert_eq!(unit["name"], JOIN_UNIT);
        let contents = unit["contents"].as_str().expect("contents");
        assert!(contents.contains(" --name metal1 --name 10.66.5.20 10.66.5.10:49153 10.66.5.11:49153\n"));
        assert!(!contents.contains("SWMTKN"), "what anybody may read holds no secret");
    }
}
