//! What a bare machine becomes: its name, its address, and the config that makes it a worker. It goes
//! there in the clear, so it holds no key: the machine makes its own, and an invitation that is good once
//! lets a member sign for it.

use std::net::Ipv4Addr;
use std::time::Duration;

use machine_core::cluster::{JOIN_UNIT, Part, Proof, config};
use machine_core::ignition::{self, Identity, Keys};
use machine_driver_qemu::ENGINE_PORT;
use machine_pxe::{Host, Known};
use machine_types::{EngineOptions, MachineName};
use serde_json::Value;

use crate::cluster::kv::Kv;
use crate::cluster::{self, keys};
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::login_keys;

/// From its config to its joining, on the slowest of machines.
const INVITED: Duration = Duration::from_secs(15 * 60);

/// Makes bare machines workers of one cluster.
pub(super) struct ClusterHost {
    context: Context,
    cluster: MachineName,
}

impl ClusterHost {
    pub(super) fn new(context: Context, cluster: MachineName) -> Self {
        Self { context, cluster }
    }

    fn admit(&self, known: &Known) -> Result<(MachineName, Ipv4Addr), Failure> {
        let _lock = cluster::lock(&self.context, &self.cluster)?;
        let mut kept = cluster::load(&self.context, &self.cluster)?;
        let [.., d, e, f] = known.mac.0;
        let name = known.name.clone().unwrap_or_else(|| format!("pxe-{d:02x}{e:02x}{f:02x}"));
        let name: MachineName =
            name.parse().map_err(|error| Failure::because("the machine has no good name", &error))?;
        if kept.members.get(&name).is_some_and(|member| !member.worker) {
            return Err(Failure::new(format!("`{name}` is another machine of cluster `{}`", self.cluster)));
        }
        let address = kept
            .admit_worker(&name, &known.mac.to_string())
            .map_err(|error| Failure::because("the machine has no address", &error))?;
        if let Some(member) = kept.members.get_mut(&name) {
            member.machine = Some(known.machine_id());
        }
        cluster::save(&self.context, &kept)?;
        Ok((name, address))
    }

    fn make(&self, known: &Known) -> Result<Value, Failure> {
        let (name, address) = self.admit(known)?;
        let kept = cluster::load(&self.context, &self.cluster)?;
        let id = known.machine_id();
        let dir = self.context.store.cluster(&self.cluster).join("pxe").join(name.as_str());
        let login = login_keys(&self.context, &dir, &name)?;
        let ca = {
            let _lock = cluster::lock(&self.context, &self.cluster)?;
            keys::cluster_keys(&self.context, &self.cluster)?.0
        };
        let others: Vec<Ipv4Addr> =
            kept.others(&name).filter(|(_, it)| !it.worker).map(|(_, it)| it.address).collect();
        let names = [name.to_string(), address.to_string()];
        let token = Kv::of(&self.context, &self.cluster)?.invite(id, &names, INVITED)?;
        let identity = ignition::config(&Identity {
            name: &name,
            id,
            driver: "pxe",
            engine: &EngineOptions::default(),
            engine_port: ENGINE_PORT,
            ca: &login.ca,
            keys: Keys::OnBoard {
                cert: "/var/lib/fleet/tls/cert.pem",
                key: "/var/lib/fleet/tls/key.pem",
                after: JOIN_UNIT,
            },
            ssh_user: "core",
            ssh_authorized_key: &login.ssh_authorized_key,
        });
        let worker = config(&Part {
            name: &name,
            address,
            bootstrap: None,
            token: &kept.token,
            heartbeat_ms: 0,
            metadata: &["provider=pxe".to_owned()],
            others: &others,
            ca: &ca.cert,
            proof: Proof::Invited { token: &token },
            authority: None,
        });
        let parse = |value: &Value| {
            hostos_config::parse(value.to_string().as_bytes(), "the machine's config")
                .map(|(config, _)| config)
                .map_err(|rejected| Failure::new(rejected.to_string()))
        };
        let whole = hostos_config::merge(&parse(&identity)?, &parse(&worker)?).to_json();
        serde_json::from_str(&whole).map_err(|error| Failure::because("the config is no JSON", &error))
    }
}

impl Host for ClusterHost {
    fn place(&self, known: &Known) -> Result<(String, Ipv4Addr), String> {
        let (name, address) = self.admit(known).map_err(|failure| failure.message)?;
        Ok((name.to_string(), address))
    }

    fn config(&self, known: &Known) -> Result<Value, String> {
        self.make(known).map_err(|failure| failure.message)
    }
}
