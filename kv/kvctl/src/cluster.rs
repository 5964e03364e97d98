//! member, endpoint, alarm, defrag, move-leader.

use std::{process::ExitCode, time::Instant};

use kv_api::etcdserverpb::{
    AlarmRequest, AlarmType, DefragmentRequest, HashKvRequest, Member, MemberAddRequest, MemberListRequest,
    MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest, MoveLeaderRequest, StatusRequest,
    StatusResponse, alarm_request::AlarmAction, cluster_client::ClusterClient,
    maintenance_client::MaintenanceClient,
};
use kv_client::{Client, ErrorKind};
use serde_json::{Value, json};

use crate::{
    Failure,
    flags::{self, Session, id},
    output::{Format, Output, header_fields, header_json, object, table},
};

fn failed(status: tonic::Status) -> kv_client::Error {
    status.into()
}

pub(crate) async fn member(
    session: &Session,
    out: &Output,
    command: flags::Member,
) -> Result<ExitCode, Failure> {
    let mut cluster = ClusterClient::new(session.client.channel());
    let urls = |text: &str| -> Result<Vec<String>, Failure> {
        let urls: Vec<String> = text.split(',').filter(|url| !url.is_empty()).map(str::to_owned).collect();
        if urls.is_empty() { Err("member peer urls not provided.".into()) } else { Ok(urls) }
    };
    match command {
        flags::Member::Add { name, peer_urls, learner } => {
            let request = MemberAddRequest { peer_ur_ls: urls(&peer_urls)?, is_learner: learner };
            let reply = cluster.member_add(request).await.map_err(failed)?.into_inner();
            let added = reply.member.unwrap_or_default();
            let cluster_id = reply.header.unwrap_or_default().cluster_id;
            let kind = if learner { " as learner" } else { "" };
            say!("Member {:16x} added to cluster {cluster_id:16x}{kind}\n", added.id);
            let named = |member: &Member| {
                let name = if member.id == added.id { name.clone() } else { member.name.clone() };
                member.peer_ur_ls.iter().map(move |url| format!("{name}={url}")).collect::<Vec<_>>()
            };
            let all: Vec<String> = reply.members.iter().flat_map(named).collect();
            say!("ETCD_NAME={name:?}\nETCD_INITIAL_CLUSTER={:?}", all.join(","));
            say!("ETCD_INITIAL_ADVERTISE_PEER_URLS={:?}", added.peer_ur_ls.join(","));
            say!("ETCD_INITIAL_CLUSTER_STATE=\"existing\"");
        }
        flags::Member::Remove { id: text } => {
            let id = id(&text)?;
            let reply = cluster.member_remove(MemberRemoveRequest { id }).await.map_err(failed)?.into_inner();
            say!("Member {id:16x} removed from cluster {:16x}", reply.header.unwrap_or_default().cluster_id);
        }
        flags::Member::Update { id: text, peer_urls } => {
            let request = MemberUpdateRequest { id: id(&text)?, peer_ur_ls: urls(&peer_urls)? };
            let reply = cluster.member_update(request.clone()).await.map_err(failed)?.into_inner();
            say!(
                "Member {:16x} updated in cluster {:16x}",
                request.id,
                reply.header.unwrap_or_default().cluster_id
            );
        }
        flags::Member::Promote { id: text } => {
            let id = id(&text)?;
            let reply =
                cluster.member_promote(MemberPromoteRequest { id }).await.map_err(failed)?.into_inner();
            say!("Member {id:16x} promoted in cluster {:16x}", reply.header.unwrap_or_default().cluster_id);
        }
        flags::Member::List => {
            let reply =
                cluster.member_list(MemberListRequest { linearizable: true }).await.map_err(failed)?;
            list(out, &reply.into_inner());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(out: &Output, reply: &kv_api::etcdserverpb::MemberListResponse) {
    let row = |member: &Member| {
        let state = if member.name.is_empty() { "unstarted" } else { "started" };
        vec![
            format!("{:x}", member.id),
            state.to_owned(),
            member.name.clone(),
            member.peer_ur_ls.join(","),
            member.client_ur_ls.join(","),
            member.is_learner.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = reply.members.iter().map(row).collect();
    match out.format {
        Format::Simple => rows.iter().for_each(|row| say!("{}", row.join(", "))),
        Format::Table => table(&["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"], &rows),
        Format::Json => {
            let member = |member: &Member| {
                object(&[
                    ("ID", json!(member.id)),
                    ("name", json!(member.name)),
                    ("peerURLs", json!(member.peer_ur_ls)),
                    ("clientURLs", json!(member.client_ur_ls)),
                    ("isLearner", json!(member.is_learner)),
                ])
            };
            let members: Vec<Value> = reply.members.iter().map(member).collect();
            say!("{}", object(&[("header", header_json(&reply.header)), ("members", json!(members))]));
        }
        Format::Fields => {
            header_fields(&reply.header);
            for member in &reply.members {
                say!("\"ID\" : {}\n\"Name\" : {:?}", member.id, member.name);
                member.peer_ur_ls.iter().for_each(|url| say!("\"PeerURL\" : {url:?}"));
                member.client_ur_ls.iter().for_each(|url| say!("\"ClientURL\" : {url:?}"));
                say!("\"IsLearner\" : {}\n", member.is_learner);
            }
        }
    }
}

/// Each endpoint by itself: as given, or all that the cluster knows.
async fn endpoints(session: &Session, all: bool) -> Result<Vec<Client>, Failure> {
    let mut config = session.config.clone();
    if all {
        let members = session.client.members().await?;
        config.endpoints = members.into_iter().flat_map(|member| member.client_ur_ls).collect();
    }
    let client = Client::new(config)?;
    Ok((0..client.endpoints().len()).map(|at| client.pinned(at)).collect())
}

pub(crate) async fn endpoint(
    session: &Session,
    out: &Output,
    command: flags::Endpoint,
) -> Result<ExitCode, Failure> {
    match command {
        flags::Endpoint::Health { cluster } => health(endpoints(session, cluster).await?, out).await,
        flags::Endpoint::Status { cluster } => status(endpoints(session, cluster).await?, out).await,
        flags::Endpoint::Hashkv { cluster, rev } => {
            for client in endpoints(session, cluster).await? {
                let request = HashKvRequest { revision: rev };
                let reply =
                    MaintenanceClient::new(client.channel()).hash_kv(request).await.map_err(failed)?;
                say!("{}, {}", client.endpoints()[0], reply.into_inner().hash);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn health(clients: Vec<Client>, out: &Output) -> Result<ExitCode, Failure> {
    let mut good = true;
    let mut rows = Vec::new();
    for client in clients {
        let started = Instant::now();
        let error = match client.get("health").await {
            Ok(_) => String::new(),
            Err(error) if error.kind() == Some(ErrorKind::PermissionDenied) => String::new(),
            Err(error) => error.to_string(),
        };
        good &= error.is_empty();
        rows.push((client.endpoints()[0].clone(), format!("{:?}", started.elapsed()), error));
    }
    match out.format {
        Format::Json => {
            let line = |(endpoint, took, error): &(String, String, String)| {
                object(&[
                    ("endpoint", json!(endpoint)),
                    ("health", json!(error.is_empty())),
                    ("took", json!(took)),
                    ("error", json!(error)),
                ])
            };
            say!("{}", json!(rows.iter().map(line).collect::<Vec<_>>()));
        }
        Format::Table => {
            let line = |(endpoint, took, error): &(String, String, String)| {
                vec![endpoint.clone(), error.is_empty().to_string(), took.clone(), error.clone()]
            };
            table(&["ENDPOINT", "HEALTH", "TOOK", "ERROR"], &rows.iter().map(line).collect::<Vec<_>>());
        }
        _ => {
            for (endpoint, took, error) in &rows {
                match error.as_str() {
                    "" => say!("{endpoint} is healthy: successfully committed proposal: took = {took}"),
                    error => say!("{endpoint} is unhealthy: failed to commit proposal: {error}"),
                }
            }
        }
    }
    if good { Ok(ExitCode::SUCCESS) } else { Err("unhealthy cluster".into()) }
}

async fn status(clients: Vec<Client>, out: &Output) -> Result<ExitCode, Failure> {
    let mut found: Vec<(String, StatusResponse)> = Vec::new();
    let mut last = None;
    for client in clients {
        let endpoint = client.endpoints()[0].clone();
        match MaintenanceClient::new(client.channel()).status(StatusRequest {}).await {
            Ok(reply) => found.push((endpoint, reply.into_inner())),
            Err(status) => {
                eprintln!("Failed to get the status of endpoint {endpoint} ({})", status.message());
                last = Some(status);
            }
        }
    }
    let row = |(endpoint, status): &(String, StatusResponse)| {
        let member = status.header.unwrap_or_default().member_id;
        vec![
            endpoint.clone(),
            format!("{member:x}"),
            status.version.clone(),
            size(status.db_size),
            (status.leader == member).to_string(),
            status.is_learner.to_string(),
            status.raft_term.to_string(),
            status.raft_index.to_string(),
            status.raft_applied_index.to_string(),
            status.errors.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let head = [
        "ENDPOINT",
        "ID",
        "VERSION",
        "DB SIZE",
        "IS LEADER",
        "IS LEARNER",
        "RAFT TERM",
        "RAFT INDEX",
        "RAFT APPLIED INDEX",
        "ERRORS",
    ];
    match out.format {
        Format::Table => table(&head, &rows),
        Format::Json => {
            let line = |(endpoint, status): &(String, StatusResponse)| {
                let status = object(&[
                    ("header", header_json(&status.header)),
                    ("version", json!(status.version)),
                    ("dbSize", json!(status.db_size)),
                    ("leader", json!(status.leader)),
                    ("raftIndex", json!(status.raft_index)),
                    ("raftTerm", json!(status.raft_term)),
                    ("raftAppliedIndex", json!(status.raft_applied_index)),
                    ("dbSizeInUse", json!(status.db_size_in_use)),
                    ("isLearner", json!(status.is_learner)),
                ]);
                json!({"Endpoint": endpoint, "Status": status})
            };
            say!("{}", json!(found.iter().map(line).collect::<Vec<_>>()));
        }
        _ => rows.iter().for_each(|row| say!("{}", row.join(", "))),
    }
    match last {
        None => Ok(ExitCode::SUCCESS),
        Some(status) => Err(Box::new(failed(status))),
    }
}

/// Bytes for people, as etcdctl writes them.
fn size(bytes: i64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if value < 10.0 && unit != "B" { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

pub(crate) async fn alarm(session: &Session, _: &Output, command: flags::Alarm) -> Result<ExitCode, Failure> {
    let action = match command {
        flags::Alarm::Disarm => AlarmAction::Deactivate,
        flags::Alarm::List => AlarmAction::Get,
    };
    let request = AlarmRequest { action: action.into(), ..Default::default() };
    let reply =
        MaintenanceClient::new(session.client.channel()).alarm(request).await.map_err(failed)?.into_inner();
    for alarm in reply.alarms {
        let kind = match alarm.alarm() {
            AlarmType::None => "NONE",
            AlarmType::Nospace => "NOSPACE",
            AlarmType::Corrupt => "CORRUPT",
        };
        say!("memberID:{} alarm:{kind} ", alarm.member_id);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn defrag(session: &Session) -> Result<ExitCode, Failure> {
    for client in endpoints(session, false).await? {
        MaintenanceClient::new(client.channel()).defragment(DefragmentRequest {}).await.map_err(failed)?;
        say!("Finished defragmenting etcd member[{}]", client.endpoints()[0]);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn move_leader(session: &Session, target: &str) -> Result<ExitCode, Failure> {
    let target_id = id(target)?;
    for client in endpoints(session, false).await? {
        let mut maintenance = MaintenanceClient::new(client.channel());
        let status = maintenance.status(StatusRequest {}).await.map_err(failed)?.into_inner();
        let member = status.header.unwrap_or_default().member_id;
        if status.leader == member {
            maintenance.move_leader(MoveLeaderRequest { target_id }).await.map_err(failed)?;
            say!("Leadership transferred from {member:x} to {target_id:x}");
            return Ok(ExitCode::SUCCESS);
        }
    }
    Err(format!("no leader endpoint given at {:?}", session.client.endpoints()).into())
}
