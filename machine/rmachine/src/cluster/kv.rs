//! The little that rmachine itself asks a cluster's members: over etcd's JSON gateway and fleet's API,
//! with the cluster's client certificate.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use kv_client::Tls;
use kv_client::fetch::fetch;
use machine_driver_qemu::{FLEET_PORT, KV_PORT};
use machine_types::MachineName;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::cluster::{endpoint, machines};
use crate::context::Context;
use crate::failure::{Failure, chain};

/// One question to one member. A machine that is down may take the connection and say nothing.
const ASK: Duration = Duration::from_secs(4);
/// A change is through only when most members have it; asking again too soon would be another change.
const CHANGE: Duration = Duration::from_secs(20);

/// A way to ask the members of one cluster.
pub(crate) struct Kv {
    name: MachineName,
    tls: Tls,
    runtime: Runtime,
    /// Name of each machine with where its kv and its fleetd are.
    machines: Vec<(MachineName, Option<String>, Option<String>)>,
}

/// One kv member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KvMember {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) is_learner: bool,
}

/// What one member says of itself.
#[derive(Clone, Debug)]
pub(crate) struct KvStatus {
    pub(crate) id: u64,
    pub(crate) leader: u64,
    pub(crate) revision: u64,
}

impl KvStatus {
    fn read(answer: &Value) -> Self {
        Self {
            id: id(&answer["header"]["member_id"]),
            leader: id(&answer["leader"]),
            revision: id(&answer["header"]["revision"]),
        }
    }
}

impl Kv {
    /// To all machines of a cluster that are in the store.
    pub(crate) fn of(context: &Context, name: &MachineName) -> Result<Self, Failure> {
        let found = machines(context, name)?;
        let at = |machine: &crate::machine::Machine| {
            (machine.record.name.clone(), endpoint(machine, KV_PORT), endpoint(machine, FLEET_PORT))
        };
        let dir = context.store.cluster(name);
        Ok(Self {
            name: name.clone(),
            tls: tls(&dir)?,
            runtime: crate::commands::ssh::runtime()?,
            machines: found.iter().map(at).collect(),
        })
    }

    /// The kv endpoints, by machine.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&MachineName, &str)> {
        self.machines.iter().filter_map(|(name, kv, _)| Some((name, kv.as_deref()?)))
    }

    /// Everybody that the members know of, from the first one that answers.
    pub(crate) fn members(&self) -> Result<Vec<KvMember>, Failure> {
        let answer = self.any("/v3/cluster/member/list", &json!({ "linearizable": true }))?;
        let members = answer["members"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(members.iter().map(member).collect())
    }

    /// Makes a member known, as one that learns.
    pub(crate) fn add_learner(&self, peer_url: &str) -> Result<u64, Failure> {
        let wish = json!({ "peerURLs": [peer_url], "isLearner": true });
        Ok(id(&self.any("/v3/cluster/member/add", &wish)?["member"]["ID"]))
    }

    /// Lets a learner vote.
    pub(crate) fn promote(&self, id: u64) -> Result<(), Failure> {
        self.any("/v3/cluster/member/promote", &json!({ "ID": id.to_string() }))?;
        Ok(())
    }

    /// Removes a member.
    pub(crate) fn remove(&self, id: u64) -> Result<(), Failure> {
        self.any("/v3/cluster/member/remove", &json!({ "ID": id.to_string() }))?;
        Ok(())
    }

    /// What one machine's kv says.
    pub(crate) fn status(&self, machine: &MachineName) -> Result<KvStatus, Failure> {
        let at = self.endpoints().find(|(name, _)| *name == machine).map(|(_, at)| at);
        let at = at.ok_or_else(|| Failure::new(format!("machine `{machine}` has no kv that is reached")))?;
        Ok(KvStatus::read(&self.ask(at, "/v3/maintenance/status", &json!({}))?))
    }

    /// What the kv of each machine says that answers, asked all at once.
    pub(crate) fn statuses(&self) -> BTreeMap<MachineName, KvStatus> {
        let mut asked = JoinSet::new();
        let questions = self.endpoints().map(|(name, at)| {
            (name.clone(), format!("https://{at}/v3/maintenance/status"), self.tls.clone())
        });
        let questions: Vec<_> = questions.collect();
        self.runtime.block_on(async {
            for (name, url, tls) in questions {
                asked.spawn(async move {
                    let body = Some("{}".to_owned());
                    (name, fetch(Method::POST, &url, body, Some(&tls), ASK).await)
                });
            }
            let mut answers = BTreeMap::new();
            while let Some(joined) = asked.join_next().await {
                if let Ok((name, Ok((200, _, text)))) = joined
                    && let Ok(answer) = serde_json::from_str(&text)
                {
                    answers.insert(name, KvStatus::read(&answer));
                }
            }
            answers
        })
    }

    /// Alarms that are raised, as words.
    pub(crate) fn alarms(&self) -> Result<Vec<String>, Failure> {
        let answer = self.any("/v3/maintenance/alarm", &json!({ "action": "GET" }))?;
        let alarms = answer["alarms"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(alarms.iter().filter_map(|alarm| Some(alarm["alarm"].as_str()?.to_owned())).collect())
    }

    /// A GET of fleet's API, from the first fleetd that answers.
    pub(crate) fn fleet(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.ask_fleet(&Method::GET, path, None)?)
    }

    /// Lets the units of a machine move to others.
    pub(crate) fn drain_machine(&self, id: Uuid) -> Result<(), Failure> {
        self.change_fleet(&Method::PUT, &format!("/fleet/v1/drain/{}", id.simple()))
    }

    /// Takes a machine out of the fleet: its certificates are good no more.
    pub(crate) fn remove_machine(&self, id: Uuid) -> Result<(), Failure> {
        let path = format!("/fleet/v1/machines/{}?force=true", id.simple());
        self.change_fleet(&Method::DELETE, &path)
    }

    /// Lets a machine into the fleet that was taken out of it once.
    pub(crate) fn forgive_machine(&self, id: Uuid) -> Result<(), Failure> {
        self.change_fleet(&Method::PUT, &format!("/fleet/v1/machines/{}", id.simple()))
    }

    /// What the fleet does not know of needs no change.
    fn change_fleet(&self, method: &Method, path: &str) -> Result<(), Failure> {
        match self.ask_fleet(method, path, None) {
            Ok(_) | Err(AskError::Unknown { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A POST of an empty object to fleet's API.
    pub(crate) fn tell_fleet(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.ask_fleet(&Method::POST, path, Some(&json!({})))?)
    }

    /// A token that lets this machine in, once, as a worker of these names.
    pub(crate) fn invite(&self, id: Uuid, names: &[String], good_for: Duration) -> Result<String, Failure> {
        let wish = json!({
            "machineID": id.simple().to_string(),
            "role": "worker",
            "names": names,
            "validSeconds": good_for.as_secs(),
        });
        let answer = self.ask_fleet(&Method::POST, "/fleet/v1/join/invitations", Some(&wish))?;
        let token = answer["token"].as_str().map(str::to_owned);
        token.ok_or_else(|| Failure::new("the fleet gave no invitation"))
    }

    fn ask_fleet(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, AskError> {
        let body = body.map(Value::to_string);
        let mut last = AskError::NoFleet { cluster: self.name.clone() };
        for at in self.machines.iter().filter_map(|(_, _, fleet)| fleet.as_deref()) {
            let url = format!("https://{at}{path}");
            match self.runtime.block_on(fetch(method.clone(), &url, body.clone(), Some(&self.tls), ASK)) {
                Ok((200, _, text)) => {
                    return serde_json::from_str(&text).map_err(|source| AskError::NoJson { url, source });
                }
                Ok((204, ..)) => return Ok(Value::Null),
                // 405: a fleetd of an older image.
                Ok((404 | 405, ..)) => return Err(AskError::Unknown { path: path.to_owned() }),
                Ok((status, _, text)) => last = AskError::answered(url, status, &text),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Asks one after the other. What a member refuses, no other would grant.
    fn any(&self, path: &str, wish: &Value) -> Result<Value, AskError> {
        let mut last = AskError::NoneRuns { cluster: self.name.clone() };
        for (_, at) in self.endpoints() {
            match self.ask(at, path, wish) {
                Ok(answer) => return Ok(answer),
                Err(refused @ AskError::Refused(_)) => return Err(refused),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn ask(&self, at: &str, path: &str, wish: &Value) -> Result<Value, AskError> {
        let url = format!("https://{at}{path}");
        let changes = ["add", "remove", "promote"].iter().any(|verb| path.ends_with(verb));
        let limit = if changes { CHANGE } else { ASK };
        let asked = fetch(Method::POST, &url, Some(wish.to_string()), Some(&self.tls), limit);
        let (status, _, text) = self.runtime.block_on(asked)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        match status {
            200 => Ok(answer),
            400 | 404 | 409 | 429 => {
                Err(AskError::Refused(answer["message"].as_str().unwrap_or(&text).trim().to_owned()))
            }
            _ => Err(AskError::answered(url, status, &text)),
        }
    }
}

/// Why asking the members came to nothing.
#[derive(Debug, thiserror::Error)]
enum AskError {
    /// A member said no.
    #[error("{0}")]
    Refused(String),
    /// There is no such thing.
    #[error("the fleet does not know {path}")]
    Unknown { path: String },
    #[error("{url} answered {status}: {said}")]
    Answered { url: String, status: u16, said: String },
    #[error("{url} gave no JSON")]
    NoJson {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{0}")]
    Unreached(String),
    #[error("no machine of cluster `{cluster}` runs")]
    NoneRuns { cluster: MachineName },
    #[error("cluster `{cluster}` has no machine whose fleetd is reached")]
    NoFleet { cluster: MachineName },
}

impl AskError {
    fn answered(url: String, status: u16, text: &str) -> Self {
        Self::Answered { url, status, said: text.trim().to_owned() }
    }
}

impl From<kv_client::fetch::FetchError> for AskError {
    fn from(error: kv_client::fetch::FetchError) -> Self {
        Self::Unreached(chain(&error))
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let failure = Self::new(chain(&error));
        match error {
            AskError::NoneRuns { .. } => failure.hint("start its machines with `rmachine start`"),
            _ => failure,
        }
    }
}

/// Asks again until it works or `limit` is over; says how it failed last.
pub(crate) fn eventually<T>(
    context: &Context,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        context.cancel().check()?;
        match attempt() {
            Ok(value) => return Ok(value),
            Err(failure) if start.elapsed() >= limit => return Err(failure),
            Err(failure) => tracing::debug!(failure.message, "asking again"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub(crate) fn tls(dir: &Path) -> Result<Tls, Failure> {
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|file| dir.join(file));
    Tls::from_files(&ca, Some(&cert), Some(&key))
        .map_err(|error| Failure::because("the keys of the cluster are unusable", &error))
}

fn member(value: &Value) -> KvMember {
    let urls = value["peerURLs"].as_array().map(Vec::as_slice).unwrap_or_default();
    KvMember {
        id: id(&value["ID"]),
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        peer_urls: urls.iter().filter_map(|url| Some(url.as_str()?.to_owned())).collect(),
        is_learner: value["isLearner"].as_bool().unwrap_or(false),
    }
}

/// 64-bit numbers are strings in protobuf's JSON.
fn id(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}
