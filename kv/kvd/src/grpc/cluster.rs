//! The Cluster service. It changes the members table; the consensus layer follows it.

use std::sync::Arc;

use bytes::Bytes;
use kv_api::{
    ErrorKind,
    etcdserverpb::{
        Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, ResponseHeader, cluster_server,
    },
    internal::op,
};
use kv_raft::{Kind, Node};
use tonic::{Request, Response, Status};

use super::storage;
use crate::{bootstrap, metrics::Peers, server::Core};

pub(crate) struct Members(pub(crate) Arc<Core>);

impl Members {
    /// etcd's replies about the cluster carry no revision.
    fn header(&self) -> Option<ResponseHeader> {
        Some(self.0.header(0))
    }

    fn list(&self) -> Result<Vec<Member>, Status> {
        self.0.node.view().members().map_err(storage)
    }

    /// Whether a quorum of the voters that would be there has started. A member has when it has told its name.
    fn check_strictly(&self, after: &[Member], removing: Option<&Member>) -> Result<(), Status> {
        if !self.0.config.strict_reconfig {
            return Ok(());
        }
        let voters: Vec<&Member> = after.iter().filter(|member| !member.is_learner).collect();
        let started = voters.iter().filter(|member| !member.name.is_empty()).count();
        // Removing one that never started cannot make things worse.
        let harmless = removing.is_some_and(|member| member.name.is_empty() || member.is_learner);
        if started <= voters.len() / 2 && !harmless {
            Err(ErrorKind::MemberNotEnoughStarted.into())
        } else {
            Ok(())
        }
    }

    /// Whether the voters that would be left and that the leader is in touch with are a quorum. To remove who is away
    /// takes nothing from it.
    async fn check_quorum_without(&self, id: u64, voters: &[Member]) -> Result<(), Status> {
        if !self.0.config.strict_reconfig {
            return Ok(());
        }
        let node = &self.0.node;
        let gone: Vec<u64> = if node.is_leader() {
            away(node, &self.0.peers)
        } else {
            let told = node.ask(None, Kind::Membership, Bytes::new()).await?;
            let ids = told.chunks_exact(8).filter_map(|id| id.try_into().ok());
            ids.map(u64::from_be_bytes).collect()
        };
        let left = voters.iter().filter(|member| member.id != id && !gone.contains(&member.id)).count();
        if gone.contains(&id) || left > (voters.len() - 1) / 2 {
            Ok(())
        } else {
            Err(ErrorKind::Unhealthy.into())
        }
    }
}

fn check_urls(urls: &[String]) -> Result<(), Status> {
    let good = |url: &String| {
        url.split_once("://").is_some_and(|(scheme, rest)| {
            matches!(scheme, "http" | "https" | "unix" | "unixs")
                && rest
                    .rsplit_once(':')
                    .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        })
    };
    if !urls.is_empty() && urls.iter().all(good) { Ok(()) } else { Err(ErrorKind::MemberBadUrls.into()) }
}

/// Whether a learner is close enough to the leader to vote: at nine tenths of its log, as etcd says.
fn is_ready(node: &Node, id: u64) -> bool {
    let status = node.status();
    let matched = status.matched.get(&id).copied().unwrap_or(0);
    matched as f64 >= 0.9 * status.last_index as f64
}

/// Whom this leader is not in touch with. Before it has been silent for long, a member is missed when a call to it
/// fails.
fn away(node: &Node, peers: &Peers) -> Vec<u64> {
    let mut away = node.out_of_touch();
    away.extend(peers.lost());
    away
}

/// Answers another member that asks about a learner, or, of none, whom the leader is not in touch with.
pub(crate) fn answer_about(node: &Node, peers: &Peers, payload: &[u8]) -> Result<Bytes, String> {
    if !node.is_leader() {
        return Err(ErrorKind::NotLeader.name().to_owned());
    }
    if payload.is_empty() {
        return Ok(away(node, peers).iter().flat_map(|id| id.to_be_bytes()).collect());
    }
    let id = u64::from_be_bytes(payload.try_into().map_err(|_| "not a member")?);
    if is_ready(node, id) {
        Ok(Bytes::new())
    } else {
        Err(ErrorKind::MemberLearnerNotReady.name().to_owned())
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Members {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        check_urls(&peer_ur_ls)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let nonce = now.as_nanos() as u64 ^ rand::random::<u64>();
        let id = bootstrap::member_id(&peer_ur_ls, &self.0.config.token, Some(nonce));
        let member = Member { id, peer_ur_ls, is_learner, ..Default::default() };
        let before = self.list()?;
        if before.iter().any(|other| other.peer_ur_ls.iter().any(|url| member.peer_ur_ls.contains(url))) {
            return Err(ErrorKind::PeerUrlExist.into());
        }
        if is_learner && before.iter().any(|other| other.is_learner) {
            return Err(ErrorKind::TooManyLearners.into());
        }
        let mut after = before;
        after.push(member.clone());
        if !is_learner {
            // The one that is added is not started yet, and learns before it votes: count those that are there.
            self.check_strictly(&after[..after.len() - 1], None)?;
        }
        self.0.propose(op::Op::MemberSet(member.clone())).await?;
        Ok(Response::new(MemberAddResponse {
            header: self.header(),
            member: Some(member),
            members: self.list()?,
        }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let id = request.into_inner().id;
        let before = self.list()?;
        let gone = before.iter().find(|member| member.id == id).cloned().ok_or(ErrorKind::MemberNotFound)?;
        let after: Vec<Member> = before.iter().filter(|member| member.id != id).cloned().collect();
        self.check_strictly(&after, Some(&gone))?;
        if !gone.is_learner {
            let voters: Vec<Member> = before.into_iter().filter(|member| !member.is_learner).collect();
            self.check_quorum_without(id, &voters).await?;
        }
        self.0.propose(op::Op::MemberRemove(id)).await?;
        Ok(Response::new(MemberRemoveResponse { header: self.header(), members: self.list()? }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        self.0.node.view().member(request.id).map_err(storage)?.ok_or(ErrorKind::MemberNotFound)?;
        check_urls(&request.peer_ur_ls)?;
        self.0.propose(op::Op::MemberUpdate(request)).await?;
        Ok(Response::new(MemberUpdateResponse { header: self.header(), members: self.list()? }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.view(false).await?;
        }
        Ok(Response::new(MemberListResponse { header: self.header(), members: self.list()? }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let id = request.into_inner().id;
        let member = self.0.node.view().member(id).map_err(storage)?.ok_or(ErrorKind::MemberNotFound)?;
        if !member.is_learner {
            return Err(ErrorKind::MemberNotLearner.into());
        }
        if self.0.node.is_leader() {
            if !is_ready(&self.0.node, id) {
                return Err(ErrorKind::MemberLearnerNotReady.into());
            }
        } else {
            self.0.node.ask(None, Kind::Membership, Bytes::copy_from_slice(&id.to_be_bytes())).await?;
        }
        self.0.propose(op::Op::MemberPromote(id)).await?;
        Ok(Response::new(MemberPromoteResponse { header: self.header(), members: self.list()? }))
    }
}
