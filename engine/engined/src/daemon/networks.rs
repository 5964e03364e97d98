//! The networks there are: what the user asked for, and what the kernel is told.
//!
//! Addresses given out are not kept on disk: at start they are taken again from the containers that run.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use engine_api::network::{Ipam, IpamPool, NetworkCreate};
use engine_net::model::{Network, Pool};
use engine_net::{Firewall, NetError, Ports, Subnet, bridge, ipam};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::durable::{self, Survive};
use super::error::{Refusal, Result, chain};
use super::names;
use crate::clock::{self, Nanos};
use crate::options::Config;

/// A network with everything the API shows of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Nanos,
    /// `bridge`, `host` or `null`.
    pub(crate) driver: String,
    pub(crate) ipam: Ipam,
    pub(crate) internal: bool,
    /// The user chose the subnet, so containers may choose addresses.
    pub(crate) own_subnet: bool,
    pub(crate) attachable: bool,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) net: Network,
}

impl NetRecord {
    pub(crate) fn is_bridge(&self) -> bool {
        self.driver == "bridge"
    }

    /// Made by the engine, not by a user.
    pub(crate) fn is_predefined(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }
}

/// All networks, and the host's share of them.
pub(crate) struct Networks {
    dir: PathBuf,
    all: Mutex<BTreeMap<String, NetRecord>>,
    pools: Vec<Subnet>,
    pub(crate) firewall: Firewall,
    pub(crate) ports: Ports,
    /// How far the bridges and the firewall of the start are.
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody needs them yet.
    Idle,
    /// Somebody waits for them.
    Wanted,
    /// They are there.
    Up,
}

impl From<NetError> for Refusal {
    fn from(error: NetError) -> Refusal {
        let text = chain(&error);
        match error {
            NetError::PoolOverlaps | NetError::AddressTaken(_) | NetError::NoFreePool => {
                Refusal::forbidden(text)
            }
            NetError::AddressOutside { .. } => Refusal::bad(text),
            _ => Refusal::internal(text),
        }
    }
}

impl Networks {
    pub(crate) fn open(config: &Config) -> Result<Networks> {
        let dir = config.data_root.join("network");
        std::fs::create_dir_all(&dir)?;
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            match durable::read::<NetRecord>(&path) {
                Ok(Some(mut record)) => {
                    record.net.pool.taken.clear();
                    all.insert(record.id.clone(), record);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "unreadable network is left alone")
                }
            }
        }
        let pools: Vec<Subnet> = config
            .address_pools
            .iter()
            .flat_map(|p| {
                let base = Subnet::parse_with_address(&p.base).map(|(subnet, _)| subnet);
                base.map(|base| ipam::split_pool(base, p.size)).unwrap_or_default()
            })
            .collect();
        let pools = if pools.is_empty() { ipam::default_pools() } else { pools };
        let networks = Networks {
            dir,
            all: Mutex::new(all),
            pools,
            firewall: Firewall::new(),
            ports: Ports::new(),
            stage: watch::Sender::new(Stage::Idle),
        };
        networks.make_predefined(config)?;
        Ok(networks)
    }

    pub(crate) fn all(&self) -> MutexGuard<'_, BTreeMap<String, NetRecord>> {
        self.all.lock().expect("no code panics holding it")
    }

    /// By id, by name, by the start of an id.
    pub(crate) fn find(&self, text: &str) -> Result<NetRecord> {
        let all = self.all();
        if let Some(found) = all.get(text).or_else(|| all.values().find(|n| n.name == text)) {
            return Ok(found.clone());
        }
        let mut starts = all.values().filter(|n| n.id.starts_with(text) && !text.is_empty());
        match (starts.next(), starts.next()) {
            (Some(found), None) => Ok(found.clone()),
            (Some(_), Some(_)) => {
                Err(Refusal::bad(format!("network {text} is ambiguous (2 matches found based on ID prefix)")))
            }
            _ => Err(Refusal::missing(format!("network {text} not found"))),
        }
    }

    fn save(&self, record: &NetRecord) -> Result<()> {
        let mut bare = record.clone();
        bare.net.pool.taken.clear();
        Ok(durable::write(&self.dir.join(format!("{}.json", record.id)), &bare, Survive::PowerCut)?)
    }

    fn make_predefined(&self, config: &Config) -> Result<()> {
        for (name, driver) in [("host", "host"), ("none", "null")] {
            if self.find(name).is_err() {
                let record = NetRecord {
                    id: names::new_id(),
                    name: name.into(),
                    created: clock::now(),
                    driver: driver.into(),
                    ipam: Ipam { driver: "default".into(), options: None, config: Vec::new() },
                    ..NetRecord::default()
                };
                self.keep_predefined(record);
            }
        }
        let old = self.find("bridge").ok();
        if config.bridge.as_deref() == Some("none") {
            if let Some(old) = old {
                self.all().remove(&old.id);
            }
            return Ok(());
        }
        let record = self.default_bridge(config, old.clone())?;
        if old.as_ref() != Some(&record) {
            self.keep_predefined(record);
        }
        Ok(())
    }

    /// What the engine makes by itself it can make again: a full disk is no reason not to start, as it
    /// takes an engine to remove the images that fill it.
    fn keep_predefined(&self, record: NetRecord) {
        if let Err(error) = self.save(&record) {
            tracing::warn!(network = record.name, %error, "the network's record is not kept");
        }
        self.all().insert(record.id.clone(), record);
    }

    /// The network of containers that name none: its settings come from the daemon's.
    fn default_bridge(&self, config: &Config, old: Option<NetRecord>) -> Result<NetRecord> {
        let foreign = config.bridge.clone();
        let (subnet, gateway) = match (&config.bip, &foreign) {
            (Some(bip), _) => {
                let (subnet, address) = Subnet::parse_with_address(bip).map_err(|_| {
                    Refusal::bad(format!("failed to parse bridge address {bip:?}: invalid CIDR address"))
                })?;
                (subnet, address)
            }
            (None, Some(name)) => {
                let addresses = bridge::addresses(name)?;
                let (address, prefix) = addresses
                    .first()
                    .copied()
                    .ok_or_else(|| Refusal::bad(format!("bridge {name} has no IPv4 address")))?;
                (Subnet::new(address, prefix), address)
            }
            (None, None) => self.default_subnet(old.as_ref())?,
        };
        let range = config
            .fixed_cidr
            .as_ref()
            .map(|text| {
                let parsed = Subnet::parse_with_address(text).map(|(subnet, _)| subnet);
                parsed.map_err(|_| Refusal::bad(format!("invalid CIDR address: {text}")))
            })
            .transpose()?;
        let name = foreign.clone().unwrap_or_else(|| "docker0".into());
        let yes = |on: bool| on.to_string();
        let options = [
            ("com.docker.network.bridge.default_bridge", "true".to_owned()),
            ("com.docker.network.bridge.enable_icc", yes(config.icc)),
            ("com.docker.network.bridge.enable_ip_masquerade", yes(config.ip_masq)),
            ("com.docker.network.bridge.host_binding_ipv4", config.ip.to_string()),
            ("com.docker.network.bridge.name", name.clone()),
            ("com.docker.network.driver.mtu", config.mtu.to_string()),
        ];
        let id = old.as_ref().map_or_else(names::new_id, |o| o.id.clone());
        Ok(NetRecord {
            created: old.map_or_else(clock::now, |o| o.created),
            net: Network {
                id: id.clone(),
                name: "bridge".into(),
                bridge: name,
                pool: Pool::new(subnet, Some(gateway), range),
                mtu: config.mtu,
                icc: config.icc,
                masquerade: config.ip_masq,
                host_address: host_address(config.ip),
                foreign_bridge: foreign.is_some(),
                ..Network::default()
            },
            id,
            name: "bridge".into(),
            driver: "bridge".into(),
            ipam: shown_ipam(subnet, gateway, None),
            options: options.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            ..NetRecord::default()
        })
    }

    /// As before, as an existing docker0 has it, or the first that is free.
    fn default_subnet(&self, old: Option<&NetRecord>) -> Result<(Subnet, Ipv4Addr)> {
        if let Some((address, prefix)) = bridge::addresses("docker0").ok().and_then(|a| a.first().copied()) {
            return Ok((Subnet::new(address, prefix), address));
        }
        if let Some(pool) = old.map(|o| &o.net.pool)
            && let Some(gateway) = pool.gateway
        {
            return Ok((pool.subnet, gateway));
        }
        let subnet = ipam::pick_pool(&self.pools, &self.used()?)?;
        let gateway = Pool::new(subnet, None, None).gateway.ok_or(NetError::NoFreePool)?;
        Ok((subnet, gateway))
    }

    fn used(&self) -> Result<Vec<Subnet>> {
        let mut used = bridge::used_subnets()?;
        used.extend(self.all().values().filter(|n| n.is_bridge()).map(|n| n.net.pool.subnet));
        Ok(used)
    }

    /// Waits for the bridges and the firewall of the start, and has them made at once.
    pub(crate) async fn are_up(&self) {
        self.stage.send_if_modified(|stage| {
            let first = *stage == Stage::Idle;
            if first {
                *stage = Stage::Wanted;
            }
            first
        });
        self.once_up().await;
    }

    /// Waits for them without any hurry.
    pub(crate) async fn once_up(&self) {
        // The sender is ours, so that this cannot fail.
        let _ = self.stage.subscribe().wait_for(|stage| *stage == Stage::Up).await;
    }

    /// Waits until somebody needs them.
    pub(crate) async fn are_wanted(&self) {
        let _ = self.stage.subscribe().wait_for(|stage| *stage != Stage::Idle).await;
    }

    /// Says that they are there.
    pub(crate) fn set_up(&self) {
        self.stage.send_replace(Stage::Up);
    }

    /// Makes the bridges of all networks, after a start.
    pub(crate) fn ensure_bridges(&self) {
        let all: Vec<NetRecord> = self.all().values().filter(|n| n.is_bridge()).cloned().collect();
        for record in all {
            if let Err(error) = bridge::ensure(&record.net) {
                tracing::error!(network = %record.name, error = %chain(&error), "could not set up the bridge");
            }
        }
    }

    pub(crate) fn create(&self, asked: &NetworkCreate, config: &Config) -> Result<NetRecord> {
        let mut asked = asked.clone();
        for (key, value) in config.network_opts.get("bridge").into_iter().flatten() {
            asked.options.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let asked = &asked;
        check_create(asked)?;
        if self.all().values().any(|n| n.name == asked.name) {
            return Err(Refusal::conflict(format!("network with name {} already exists", asked.name)));
        }
        let id = names::new_id();
        let pool = self.pool_for(asked)?;
        let option = |key: &str| asked.options.get(&format!("com.docker.network.{key}")).map(String::as_str);
        let is_on = |key: &str| {
            option(key).is_none_or(|v| !matches!(v, "0" | "f" | "F" | "FALSE" | "false" | "False"))
        };
        let mtu = option("driver.mtu").and_then(|m| m.parse().ok()).unwrap_or(config.mtu);
        let net = Network {
            id: id.clone(),
            name: asked.name.clone(),
            bridge: option("bridge.name").map_or_else(|| format!("br-{}", names::short(&id)), str::to_owned),
            mtu,
            internal: asked.internal,
            icc: is_on("bridge.enable_icc"),
            masquerade: is_on("bridge.enable_ip_masquerade"),
            host_address: option("bridge.host_binding_ipv4")
                .and_then(|a| a.parse().ok())
                .or(host_address(config.ip)),
            embedded_dns: true,
            foreign_bridge: false,
            pool,
        };
        let ipam = asked.ipam.clone().unwrap_or_default();
        let record = NetRecord {
            id,
            name: asked.name.clone(),
            created: clock::now(),
            driver: "bridge".into(),
            ipam: Ipam {
                driver: if ipam.driver.is_empty() { "default".into() } else { ipam.driver },
                options: ipam.options,
                config: vec![shown_pool(&net.pool, ipam.config.first())],
            },
            internal: asked.internal,
            own_subnet: asked.ipam.as_ref().is_some_and(|i| i.config.iter().any(|c| !c.subnet.is_empty())),
            attachable: asked.attachable,
            options: asked.options.clone(),
            labels: asked.labels.clone(),
            net,
        };
        bridge::ensure(&record.net)?;
        if let Err(refusal) = self.save(&record) {
            // The bridge is of no use without its description.
            let _ = bridge::remove(&record.net);
            return Err(refusal);
        }
        self.all().insert(record.id.clone(), record.clone());
        Ok(record)
    }

    fn pool_for(&self, asked: &NetworkCreate) -> Result<Pool> {
        let config =
            asked.ipam.as_ref().and_then(|i| i.config.iter().find(|c| !c.subnet.contains(':')).cloned());
        let used = self.used()?;
        if config.as_ref().is_some_and(|c| {
            c.subnet.is_empty() && !(c.gateway.is_empty() && c.ip_range.is_empty() && c.auxiliary.is_empty())
        }) {
            return Err(Refusal::bad("Invalid subnet  : invalid CIDR address: "));
        }
        let Some(config) = config.filter(|c| !c.subnet.is_empty()) else {
            return Ok(Pool::new(ipam::pick_pool(&self.pools, &used)?, None, None));
        };
        let subnet = |text: &str| {
            let parsed = Subnet::parse_with_address(text).map(|(subnet, _)| subnet);
            parsed.map_err(|_| Refusal::bad(format!("Invalid subnet {text} : invalid CIDR address: {text}")))
        };
        let address = |text: &str| {
            text.parse::<Ipv4Addr>().map_err(|_| Refusal::bad(format!("invalid ip address: {text}")))
        };
        let own = subnet(&config.subnet)?;
        if self.all().values().any(|n| n.is_bridge() && n.net.pool.subnet.overlaps(own)) {
            return Err(NetError::PoolOverlaps.into());
        }
        let gateway = if config.gateway.is_empty() { None } else { Some(address(&config.gateway)?) };
        if let Some(outside) = gateway.filter(|g| !own.contains(*g)) {
            return Err(Refusal::bad(format!("no matching subnet for gateway {outside}")));
        }
        let range = if config.ip_range.is_empty() { None } else { Some(subnet(&config.ip_range)?) };
        if let Some(outside) = range.filter(|r| !own.overlaps(*r)) {
            return Err(Refusal::bad(format!(
                "invalid network config:\ninvalid ip-range {outside}: parent subnet {own} doesn't contain ip-range"
            )));
        }
        let mut pool = Pool::new(own, gateway, range);
        for (name, text) in &config.auxiliary {
            let reserved = address(text)?;
            if !own.contains(reserved) {
                return Err(Refusal::forbidden(format!(
                    "auxiliary address: ({name}:{reserved}) must belong to the master pool: {own}"
                )));
            }
            pool.auxiliary.insert(name.clone(), reserved);
        }
        Ok(pool)
    }

    /// Takes a network away. Whether it is in use is the caller's to know.
    pub(crate) fn remove(&self, record: &NetRecord) -> Result<()> {
        bridge::remove(&record.net)?;
        std::fs::remove_file(self.dir.join(format!("{}.json", record.id)))?;
        self.all().remove(&record.id);
        Ok(())
    }
}

fn host_address(ip: std::net::IpAddr) -> Option<Ipv4Addr> {
    match ip {
        std::net::IpAddr::V4(v4) if !v4.is_unspecified() => Some(v4),
        _ => None,
    }
}

fn shown_ipam(subnet: Subnet, gateway: Ipv4Addr, options: Option<BTreeMap<String, String>>) -> Ipam {
    let pool = IpamPool { subnet: subnet.to_string(), gateway: gateway.to_string(), ..IpamPool::default() };
    Ipam { driver: "default".into(), options, config: vec![pool] }
}

/// What was asked for, and the subnet and gateway that were chosen.
fn shown_pool(pool: &Pool, asked: Option<&IpamPool>) -> IpamPool {
    let mut shown = asked.cloned().unwrap_or_default();
    if shown.subnet.is_empty() {
        shown.gateway = pool.gateway.map(|g| g.to_string()).unwrap_or_default();
    }
    shown.subnet = pool.subnet.to_string();
    shown
}

/// Options of bridges whose values mean something.
fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    for key in ["enable_icc", "enable_ip_masquerade", "default_bridge"] {
        let key = format!("com.docker.network.bridge.{key}");
        let Some(value) = options.get(&key) else { continue };
        const BOOLS: [&str; 12] =
            ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
        if !BOOLS.contains(&value.as_str()) {
            return Err(Refusal::bad(format!(
                "failed to parse {key} value: {value} (strconv.ParseBool: parsing {value:?}: invalid syntax)"
            )));
        }
    }
    let key = "com.docker.network.bridge.host_binding_ipv4";
    match options.get(key).filter(|value| value.parse::<Ipv4Addr>().is_err()) {
        Some(value) => Err(Refusal::bad(format!("failed to parse {key} value: {value} (nil ip)"))),
        None => Ok(()),
    }
}

fn check_create(asked: &NetworkCreate) -> Result<()> {
    let name = asked.name.as_str();
    if name.trim().is_empty() {
        return Err(Refusal::bad("invalid name: name is empty"));
    }
    if matches!(name, "bridge" | "host" | "none" | "default") {
        return Err(Refusal::forbidden(format!("operation is not permitted on predefined {name} network ")));
    }
    match asked.driver.as_str() {
        "" | "bridge" => {}
        "host" => return Err(Refusal::forbidden("only one instance of \"host\" network is allowed")),
        "null" | "none" => {
            return Err(Refusal::forbidden("only one instance of \"null\" network is allowed"));
        }
        "overlay" => {
            return Err(Refusal { status: http::StatusCode::SERVICE_UNAVAILABLE, message: "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.".into(), event: None });
        }
        other => {
            return Err(Refusal::missing(format!("plugin \"{other}\" not found")));
        }
    }
    if asked.config_only {
        return Err(Refusal {
            status: http::StatusCode::NOT_IMPLEMENTED,
            message: "configuration-only networks are not served: give each network its own options".into(),
            event: None,
        });
    }
    if let Some(from) = asked.config_from.as_ref().map(|f| &f.network).filter(|n| !n.is_empty()) {
        return Err(Refusal::missing(format!("configuration network {from:?} does not exist")));
    }
    if asked.ingress {
        return Err(Refusal::forbidden("Ingress network can only be global scope network"));
    }
    if asked.scope == "swarm" {
        return Err(Refusal::forbidden("cannot create a swarm scoped network when swarm is not active"));
    }
    if let Some(driver) = asked.ipam.as_ref().map(|i| i.driver.as_str())
        && !matches!(driver, "" | "default")
    {
        return Err(Refusal::missing(format!("plugin \"{driver}\" not found")));
    }
    check_options(&asked.options)?;
    if let Some(mtu) = asked.options.get("com.docker.network.driver.mtu")
        && mtu.parse::<u32>().is_err()
    {
        return Err(Refusal::bad(format!(
            "failed to parse com.docker.network.driver.mtu value: {mtu} (strconv.Atoi: parsing {mtu:?}: invalid syntax)"
        )));
    }
    if asked.enable_ipv6 {
        return Err(Refusal::bad("IPv6 networks are not served yet: leave --ipv6 out"));
    }
    Ok(())
}
