//! Clients that ask much before they read, and what /metrics tells of clients.

use std::{collections::BTreeMap, time::Duration};

use kv_client::{Client, Config, pb};
use pb::{WatchCreateRequest, WatchRequest, watch_client::WatchClient, watch_request::RequestUnion};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::process::{KVD, Member, Place};

const PATIENCE: Duration = Duration::from_secs(30);

async fn alone(dir: &std::path::Path) -> (Member, Client) {
    let place = Place::new("one", dir);
    let member = Member::start(KVD, &place, &["--initial-cluster", &format!("one={}", place.peer)]);
    let mut config = Config::new([member.client.clone()]);
    config.request_timeout = PATIENCE;
    let client = Client::new(config).expect("a URL");
    let serves = async {
        while client.get("up?").await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, serves).await.expect("it serves");
    (member, client)
}

#[tokio::test]
async fn whoever_asks_before_reading_gets_every_answer() {
    const WATCHES: i64 = 1500;
    let dir = tempfile::tempdir().expect("temporary directory");
    let (_member, client) = alone(dir.path()).await;
    let (requests, receiver) = tokio::sync::mpsc::channel(WATCHES as usize);
    for _ in 0..WATCHES {
        let create = WatchCreateRequest { key: "k".into(), ..Default::default() };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.send(request).await.expect("room");
    }
    let mut watch = WatchClient::new(client.channel());
    let mut responses =
        watch.watch(ReceiverStream::new(receiver)).await.expect("a stream of watches").into_inner();
    // Answers pile up, as far as there is room for them.
    sleep(Duration::from_secs(1)).await;
    let mut told = BTreeMap::<i64, usize>::new();
    let mut created = 0;
    while created < WATCHES {
        let response = timeout(PATIENCE, responses.message()).await.expect("no answer is lost");
        let response = response.expect("the stream holds").expect("and goes on");
        assert!(response.created && !response.canceled, "{response:?}");
        assert_eq!(response.watch_id, created, "ids in order");
        created += 1;
    }
    let revision = client.put("k", "v").await.expect("put");
    while told.len() < WATCHES as usize {
        let response = timeout(PATIENCE, responses.message()).await.expect("every watch is told");
        let response = response.expect("the stream holds").expect("and goes on");
        for event in &response.events {
            assert_eq!(event.kv.as_ref().map(|pair| pair.mod_revision), Some(revision));
        }
        *told.entry(response.watch_id).or_default() += response.events.len();
    }
    assert!(told.values().all(|events| *events == 1), "each is told once");
}

#[tokio::test]
async fn the_id_of_a_canceled_watch_does_not_come_back() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (_member, client) = alone(dir.path()).await;
    let (requests, receiver) = tokio::sync::mpsc::channel(8);
    let create = || {
        let create = WatchCreateRequest { key: "k".into(), ..Default::default() };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    };
    let cancel = pb::WatchCancelRequest { watch_id: 0 };
    let cancel = WatchRequest { request_union: Some(RequestUnion::CancelRequest(cancel)) };
    for request in [create(), cancel, create()] {
        requests.send(request).await.expect("room");
    }
    let mut watch = WatchClient::new(client.channel());
    let mut responses =
        watch.watch(ReceiverStream::new(receiver)).await.expect("a stream of watches").into_inner();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let response = timeout(PATIENCE, responses.message()).await.expect("an answer");
        let response = response.expect("the stream holds").expect("and goes on");
        seen.push((response.watch_id, response.created, response.canceled));
    }
    assert_eq!(seen, [(0, true, false), (0, false, true), (1, true, false)]);
}

async fn metrics(member: &Member) -> String {
    let url = format!("{}/metrics", member.client);
    let (status, _, text) =
        kv_client::fetch::fetch(http::Method::GET, &url, None, None, PATIENCE).await.expect("metrics");
    assert_eq!(status, 200);
    text
}

fn value(text: &str, name: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().expect("a number")
}

#[tokio::test]
async fn dashboards_for_etcd_find_what_they_look_for() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (member, client) = alone(dir.path()).await;
    for number in 0..7 {
        client.put(format!("k{number}"), vec![b'v'; 1000]).await.expect("put");
    }
    assert!(client.put("", "no key").await.is_err());
    let text = metrics(&member).await;
    let put = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
    for (name, expected) in [
        (format!("grpc_server_started_total{{{put}}}"), 8.0),
        (format!("grpc_server_handled_total{{grpc_code=\"OK\",{put}}}"), 7.0),
        (format!("grpc_server_handled_total{{grpc_code=\"InvalidArgument\",{put}}}"), 1.0),
        (format!("grpc_server_msg_received_total{{{put}}}"), 8.0),
        (format!("grpc_server_msg_sent_total{{{put}}}"), 7.0),
        ("etcd_server_has_leader".into(), 1.0),
        ("etcd_server_leader_changes_seen_total".into(), 1.0),
        ("etcd_server_proposals_pending".into(), 0.0),
        ("etcd_server_proposals_failed_total".into(), 0.0),
    ] {
        assert_eq!(value(&text, &name), expected, "{name}");
    }
    assert!(value(&text, "etcd_network_client_grpc_received_bytes_total") > 7000.0);
    for name in [
        "etcd_network_client_grpc_sent_bytes_total",
        "etcd_server_proposals_committed_total",
        "etcd_server_proposals_applied_total",
        "etcd_mvcc_db_total_size_in_bytes",
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "etcd_server_quota_backend_bytes",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"}",
        "etcd_disk_backend_commit_duration_seconds_bucket{le=\"+Inf\"}",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
    ] {
        value(&text, name);
    }
}
