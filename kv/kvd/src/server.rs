//! One member, put together: log, state, consensus, ports, and the tasks that keep house.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use kv_api::{
    ErrorKind,
    etcdserverpb::{Member, ResponseHeader},
    internal::{Op, Reply, op, reply},
};
use kv_core::View;
use kv_raft::{LogStore, Machine, Mode, Node, Options, StartError};
use kv_store::{OpenError, RedbStore};
use kv_wal::{RealDisk, Wal, WalError};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    bootstrap::{self, BootstrapError, Identity},
    compactor,
    config::Config,
    gateway::Gateway,
    grpc,
    http::{ClientPort, MetricsPort, PeerPort},
    hub::{self, HubHandle},
    lessor::Lessor,
    metrics::{Metrics, Peers},
    peer::{Answering, Wire},
    restore::RestoreError,
    serve::{self, ListenError},
};

/// How data on disk is laid out. A newer one is refused.
const FORMAT: u32 = 1;
/// How often a member looks whether it was removed.
const REMOVED_EACH: Duration = Duration::from_millis(500);
/// What the state keeps in memory of its file at most.
const CACHE_BYTES: usize = 128 << 20;

/// Why a member could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("could not prepare the data directory `{}`", .path.display())]
    DataDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the data in `{}` has format {found}, this version knows up to {FORMAT}: use a newer kvd", .path.display())]
    NewerFormat { path: PathBuf, found: String },
    #[error("another process uses the data directory `{}`", .0.display())]
    InUse(PathBuf),
    #[error("could not open the log")]
    Log(#[source] WalError),
    #[error("could not read the log")]
    LogContent(#[source] io::Error),
    #[error(transparent)]
    State(#[from] OpenError),
    #[error("could not read the state")]
    StateContent(#[source] io::Error),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("could not set up calls to other members")]
    Wire(#[source] kv_client::ConfigError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("could not found the cluster")]
    Found(#[source] io::Error),
}

/// What every service works with.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) cluster_id: u64,
    pub(crate) node: Node,
    pub(crate) lessor: Arc<Lessor>,
    pub(crate) hub: HubHandle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) leaderless: grpc::guard::Leaderless,
    pub(crate) v2: crate::v2::Stats,
}

impl Core {
    /// Whether this member only learns, as its cluster was told. One that is to vote may learn at first, too.
    pub(crate) fn is_learner(&self) -> bool {
        !self.node.votes() && {
            let known = self.node.view().member(self.node.id()).ok().flatten();
            known.is_some_and(|member| member.is_learner)
        }
    }

    /// The header of a reply at this revision.
    pub(crate) fn header(&self, revision: i64) -> ResponseHeader {
        let raft_term = self.node.term();
        ResponseHeader { cluster_id: self.cluster_id, member_id: self.node.id(), revision, raft_term }
    }

    /// The header of a reply about the state as it is now.
    pub(crate) fn header_now(&self) -> Option<ResponseHeader> {
        Some(self.header(self.node.revision()))
    }

    /// Performs an operation; a refusal is an error here.
    pub(crate) async fn propose(&self, op: op::Op) -> Result<reply::Reply, ErrorKind> {
        let started = std::time::Instant::now();
        let _pending = self.metrics.proposing();
        let Reply { reply } =
            self.node.propose(Op { op: Some(op) }).await.inspect_err(|_| self.metrics.failed())?;
        self.metrics.proposed(started.elapsed());
        match reply {
            Some(reply::Reply::Error(name)) => Err(name.parse().unwrap_or(ErrorKind::Corrupt)),
            Some(reply) => Ok(reply),
            None => Err(ErrorKind::Corrupt),
        }
    }

    /// A view for a read: any, or one that is certainly not stale.
    pub(crate) async fn view(&self, serializable: bool) -> Result<View, ErrorKind> {
        if serializable { Ok(self.node.view()) } else { self.node.linearizable().await }
    }
}

/// A running member.
pub struct Server {
    core: Arc<Core>,
    tasks: Mutex<JoinSet<()>>,
    _lock: std::fs::File,
}

impl Server {
    /// Starts a member and returns when it serves.
    ///
    /// # Errors
    /// When something of it cannot start.
    pub async fn start(config: Config) -> Result<Self, ServerError> {
        let member_dir = config.data_dir.join("member");
        let lock = prepare(&config.data_dir, &member_dir)?;
        let wal_dir = config.wal_dir.clone().unwrap_or_else(|| member_dir.join("wal"));
        let disk =
            RealDisk::new(&wal_dir).map_err(|source| ServerError::DataDir { path: wal_dir, source })?;
        let wal = Wal::open(Arc::new(disk), kv_wal::Options::default()).map_err(ServerError::Log)?;
        let log = LogStore::open(wal, Mode::Thread).map_err(ServerError::LogContent)?;
        let store = Arc::new(RedbStore::open(&member_dir.join("state"), CACHE_BYTES)?);
        if let Some(file) = &config.initial_snapshot {
            crate::restore::restore(file, &*store)?;
        }
        let machine = Machine::open(store).map_err(ServerError::StateContent)?;

        let mut tasks = JoinSet::new();
        let answering: Arc<OnceLock<(Node, Arc<Lessor>)>> = Arc::default();
        let identity = bootstrap::identify(&config, &member_dir, &machine.view()).await?;
        let Identity { cluster_id, member_id, founders } = identity;
        let peers = Arc::<Peers>::default();
        let peer_port = PeerPort::new(Answering {
            cluster_id,
            member_id,
            member: answering.clone(),
            peers: peers.clone(),
        });
        for url in &config.listen_peer {
            serve::listen(url, &config.peer_tls, peer_port.clone(), &mut tasks).await?;
        }
        let options =
            Options { heartbeat: config.heartbeat, election: config.election, ..Options::default() };
        let wire = Wire::new(cluster_id, member_id, &config.peer_tls, peers.clone());
        let wire = Arc::new(wire.map_err(ServerError::Wire)?);
        let node = Node::start(member_id, options, log, machine, wire).await?;
        if !founders.is_empty() {
            node.found(founders).await.map_err(ServerError::Found)?;
        }
        let lessor = Arc::new(Lessor::new(node.clone()));
        let _ = answering.set((node.clone(), lessor.clone()));
        let (asks, hub_asks) = mpsc::channel(1024);
        let most_bytes = config.max_request_bytes + grpc::OVERHEAD;
        let metrics = Arc::<Metrics>::default();
        let (every, told) = (config.progress_every, metrics.clone());
        tasks.spawn(hub::run(node.clone(), cluster_id, every, most_bytes, told, hub_asks));
        let core = Arc::new(Core {
            config,
            cluster_id,
            node,
            lessor: lessor.clone(),
            hub: HubHandle(asks),
            metrics,
            peers,
            leaderless: grpc::guard::Leaderless::default(),
            v2: crate::v2::Stats::default(),
        });
        peer_port.serve(core.clone());
        tasks.spawn(async move { lessor.run().await });
        tasks.spawn(compactor::run(core.clone()));
        tasks.spawn(publish(core.clone()));
        tasks.spawn(follow_leaders(core.clone()));
        tasks.spawn(grpc::guard::look(core.clone()));
        tasks.spawn(crate::v2::expire(core.clone()));
        let server = Self { core, tasks: Mutex::new(tasks), _lock: lock };
        server.open_client_ports().await?;
        Ok(server)
    }

    async fn open_client_ports(&self) -> Result<(), ServerError> {
        let core = &self.core;
        let mut tasks = JoinSet::new();
        let services = grpc::Services::new(core);
        let gateway = core.config.gateway.then(|| Arc::new(Gateway::new(services.clone())));
        let port = ClientPort { core: core.clone(), services, gateway };
        for url in &core.config.listen_client {
            serve::listen(url, &core.config.client_tls, port.clone(), &mut tasks).await?;
        }
        for url in &core.config.listen_metrics {
            serve::listen(url, &core.config.client_tls, MetricsPort(core.clone()), &mut tasks).await?;
        }
        let core = core.clone();
        // etcd says so when the member joined the cluster; others wait for this very line.
        tasks.spawn(async move {
            while core.node.leader().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tracing::info!(
                member = format!("{:x}", core.node.id()),
                cluster = format!("{:x}", core.cluster_id),
                "ready to serve client requests"
            );
        });
        let mut all = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        all.spawn(async move { while tasks.join_next().await.is_some() {} });
        Ok(())
    }

    /// Returns when the member cannot go on: its disk failed, it met a bug, or it was removed.
    pub async fn stopped(&self) -> String {
        let removed = async {
            let id = self.core.node.id();
            // Who was removed is not in a hurry to learn of it.
            while !self.core.node.view().was_removed(id).unwrap_or(false) {
                tokio::time::sleep(REMOVED_EACH).await;
            }
            // Let the others learn that we know.
            tokio::time::sleep(Duration::from_secs(1)).await;
            "the member has been permanently removed from the cluster".to_owned()
        };
        tokio::select! {
            reason = self.core.node.stopped() => reason,
            reason = removed => reason,
        }
    }

    /// Hands leadership over if there is somebody to take it, then ends everything.
    pub async fn shut_down(self) {
        let node = &self.core.node;
        if node.is_leader() {
            let status = node.status();
            let voters: Vec<u64> = match node.view().members() {
                Ok(members) => {
                    members.into_iter().filter(|m| !m.is_learner && m.id != status.id).map(|m| m.id).collect()
                }
                Err(_) => Vec::new(),
            };
            if let Some((to, _)) =
                status.matched.iter().filter(|(id, _)| voters.contains(id)).max_by_key(|(_, at)| **at)
            {
                let _ = tokio::time::timeout(Duration::from_secs(3), node.move_leader(*to)).await;
            }
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        node.shut_down().await;
    }
}

/// Makes the data directory, locks it, and checks that its format is one we know.
fn prepare(data_dir: &Path, member_dir: &Path) -> Result<std::fs::File, ServerError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let failed = |source| ServerError::DataDir { path: data_dir.into(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(member_dir).map_err(failed)?;
    std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    let lock = std::fs::File::create(member_dir.join("lock")).map_err(failed)?;
    if lock.try_lock().is_err() {
        return Err(ServerError::InUse(data_dir.into()));
    }
    let path = member_dir.join("format");
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().parse::<u32>().is_ok_and(|found| found <= FORMAT) => {}
        Ok(text) => {
            return Err(ServerError::NewerFormat { path: data_dir.into(), found: text.trim().to_owned() });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bootstrap::write(&path, format!("{FORMAT}\n").as_bytes()).map_err(failed)?;
            // The member's folder is new as well.
            std::fs::File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    Ok(lock)
}

/// Tells the cluster this member's name and client URLs, until it knows them.
async fn publish(core: Arc<Core>) {
    let told = Member {
        id: core.node.id(),
        name: core.config.name.clone(),
        client_ur_ls: core.config.advertise_client.clone(),
        ..Default::default()
    };
    loop {
        let known = core.node.view().member(told.id).ok().flatten();
        if known.is_some_and(|known| known.name == told.name && known.client_ur_ls == told.client_ur_ls) {
            return;
        }
        if core.node.leader().is_some() {
            let _ = core.propose(op::Op::MemberAttributes(told.clone())).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Counts the leaders this member sees.
async fn follow_leaders(core: Arc<Core>) {
    let mut last = None;
    while let Some(leader) = core.node.next_leader(last).await {
        last = Some(leader);
        core.metrics.saw_new_leader();
        core.v2.leads(leader);
    }
}
