//! Members that may not, or cannot, do everything: learners, members without a leader, clusters that are about to lose
//! their quorum. Ours must behave as etcd does, so each story is told of both.

use std::time::Duration;

use kv_client::{Client, Config, pb};
use pb::{WatchCreateRequest, WatchRequest, watch_client::WatchClient, watch_request::RequestUnion};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

use crate::process::{KVD, Member, Place, etcdctl, eventually, has, serves};

const PATIENCE: Duration = Duration::from_secs(60);

fn text(endpoint: &str, args: &[&str]) -> String {
    let output = etcdctl(endpoint, args, "");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn three(program: &str, dir: &std::path::Path) -> Vec<Member> {
    let places: Vec<Place> = ["a", "b", "c"].iter().map(|name| Place::new(name, dir)).collect();
    let cluster = places.iter().map(|p| format!("{}={}", p.name, p.peer)).collect::<Vec<_>>().join(",");
    let members: Vec<Member> =
        places.iter().map(|p| Member::start(program, p, &["--initial-cluster", &cluster])).collect();
    members.iter().for_each(|member| serves(&member.client));
    members
}

/// The id of the member with this name, as `member list` tells it.
fn id(endpoint: &str, name: &str) -> String {
    let list = text(endpoint, &["member", "list"]);
    let line = list.lines().find(|line| line.split(", ").nth(2) == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in:\n{list}")).split(", ").next().unwrap_or_default().to_owned()
}

fn learns(program: &str) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (first, second) = (Place::new("first", dir.path()), Place::new("second", dir.path()));
    let founding = format!("first={}", first.peer);
    let one = Member::start(program, &first, &["--initial-cluster", &founding]);
    serves(&one.client);
    assert_eq!(text(&one.client, &["put", "k", "v"]), "OK\n");
    let urls = format!("--peer-urls={}", second.peer);
    let added = text(&one.client, &["member", "add", "second", "--learner", &urls]);
    assert!(added.contains("added to cluster"), "{added}");
    let both = format!("{founding},second={}", second.peer);
    let two =
        Member::start(program, &second, &["--initial-cluster", &both, "--initial-cluster-state", "existing"]);
    eventually("what may be stale is read from a learner", PATIENCE, || {
        text(&two.client, &["get", "k", "--consistency=s"]) == "k\nv\n"
    });
    let status = text(&two.client, &["endpoint", "status", "-w", "fields"]);
    assert!(status.contains("\"IsLearner\" : true"), "{status}");
    for command in [
        &["get", "k"][..],
        &["put", "k", "w"],
        &["del", "k"],
        &["lease", "grant", "10"],
        &["lease", "list"],
        &["member", "list"],
        &["alarm", "list"],
        &["compaction", "1"],
        &["endpoint", "hashkv"],
    ] {
        let refused = text(&two.client, command);
        assert!(refused.contains("etcdserver: rpc not supported for learner"), "{command:?}: {refused}");
    }
    eventually("it is promoted", PATIENCE, || {
        text(&one.client, &["member", "promote", &id(&one.client, "second")]).contains("promoted in cluster")
    });
    eventually("it serves everything then", PATIENCE, || text(&two.client, &["get", "k"]) == "k\nv\n");
}

fn keeps_its_quorum(program: &str) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut members = three(program, dir.path());
    // etcd counts whom it has been in touch with for five seconds.
    std::thread::sleep(Duration::from_secs(6));
    let ids: Vec<String> = ["a", "b", "c"].iter().map(|name| id(&members[0].client, name)).collect();
    members[2].kill();
    eventually("writes go on", PATIENCE, || text(&members[0].client, &["put", "k", "v"]) == "OK\n");
    std::thread::sleep(Duration::from_secs(1));
    let refused = text(&members[0].client, &["member", "remove", &ids[1]]);
    assert!(refused.contains("etcdserver: unhealthy cluster"), "{refused}");
    let removed = text(&members[0].client, &["member", "remove", &ids[2]]);
    assert!(removed.contains("removed from cluster"), "{removed}");
    assert_eq!(text(&members[1].client, &["put", "k", "w"]), "OK\n");
}

async fn health(member: &Member) -> (u16, String) {
    let url = format!("{}/health", member.client);
    let limit = Duration::from_secs(20);
    let answer = kv_client::fetch::fetch(http::Method::GET, &url, None, None, limit).await;
    answer.map_or((0, String::new()), |(status, _, text)| (status, text))
}

async fn is_left_alone(program: &str) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut members = tokio::task::block_in_place(|| three(program, dir.path()));
    let client = Client::new(Config::new([members[0].client.clone()])).expect("a URL");
    let needing = |key: &'static str| {
        let create = WatchCreateRequest { key: key.into(), ..Default::default() };
        let first = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.try_send(first).expect("room");
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("hasleader", "true".parse().expect("a value"));
        (sender, request)
    };
    let mut watches = WatchClient::new(client.channel());
    let (_open, request) = needing("k");
    let mut watch = watches.watch(request).await.expect("there is a leader").into_inner();
    let created = timeout(PATIENCE, watch.message()).await.expect("soon").expect("no error");
    assert!(created.is_some_and(|created| created.created));
    members[1].kill();
    members[2].kill();
    let ended = timeout(PATIENCE, watch.message()).await.expect("the stream ends");
    let status = ended.expect_err("with an error");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    let (status, told) = health(&members[0]).await;
    assert_eq!((status, told.contains("RAFT NO LEADER")), (503, true), "{told}");
    let (_open, request) = needing("k");
    let refused = watches.watch(request).await.map(tonic::Response::into_inner);
    let status = match refused {
        Err(status) => status,
        Ok(mut watch) => watch.message().await.expect_err("no leader"),
    };
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    let mut put = Request::new(pb::PutRequest { key: "k".into(), ..Default::default() });
    put.metadata_mut().insert("hasleader", "true".parse().expect("a value"));
    let refused = pb::kv_client::KvClient::new(client.channel()).put(put).await.expect_err("no leader");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(client.channel());
    let status = maintenance.status(pb::StatusRequest {}).await.expect("it still tells").into_inner();
    assert_eq!((status.leader, status.errors), (0, vec!["etcdserver: no leader".to_owned()]));
    members[1].restart();
    let back = async {
        while health(&members[0]).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("two are a quorum");
}

/// Values so large that what a watch is told of them does not fit into one message.
async fn cuts_what_is_large(program: &str) {
    const LIMIT: usize = 2 << 20;
    let dir = tempfile::tempdir().expect("temporary directory");
    let place = Place::new("one", dir.path());
    let member = Member::start(program, &place, &["--initial-cluster", &format!("one={}", place.peer)]);
    tokio::task::block_in_place(|| serves(&member.client));
    let client = Client::new(Config::new([member.client.clone()])).expect("a URL");
    for number in 0..20 {
        client.put(format!("large/{number:02}"), vec![b'v'; 500_000]).await.expect("put");
    }
    for fragment in [true, false] {
        let create = WatchCreateRequest {
            key: "large/".into(),
            range_end: "large0".into(),
            start_revision: 2,
            fragment,
            ..Default::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let (_open, receiver) = {
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            sender.try_send(request).expect("room");
            (sender, receiver)
        };
        let mut watches = WatchClient::new(client.channel()).max_decoding_message_size(64 << 20);
        let mut watch = watches.watch(ReceiverStream::new(receiver)).await.expect("a stream").into_inner();
        let (mut keys, mut pieces) = (Vec::new(), 0);
        while keys.len() < 20 {
            let response = timeout(PATIENCE, watch.message()).await.expect("soon").expect("no error");
            let response = response.expect("it goes on");
            let size: usize =
                response.events.iter().map(|e| e.kv.as_ref().map_or(0, |p| p.value.len())).sum();
            assert!(!fragment || size <= LIMIT, "a piece of {size} bytes");
            assert!(fragment || !response.fragment, "not asked for");
            pieces += usize::from(response.fragment);
            keys.extend(response.events.into_iter().filter_map(|event| Some(event.kv?.key)));
            if keys.len() == 20 {
                assert!(!response.fragment, "nothing follows the last");
            }
        }
        assert!(!fragment || pieces >= 2, "{pieces} pieces");
        let expected: Vec<String> = (0..20).map(|number| format!("large/{number:02}")).collect();
        assert_eq!(keys, expected);
    }
}

#[test]
fn a_learner_serves_what_may_be_stale() {
    if has("etcdctl") {
        learns(KVD);
    }
}

#[test]
fn a_learner_of_etcd_serves_the_same() {
    if has("etcdctl") && has("etcd-3.5") {
        learns("etcd-3.5");
    }
}

#[test]
fn nobody_is_removed_whom_a_quorum_needs() {
    if has("etcdctl") {
        keeps_its_quorum(KVD);
    }
}

#[test]
fn nobody_is_removed_whom_a_quorum_of_etcd_needs() {
    if has("etcdctl") && has("etcd-3.5") {
        keeps_its_quorum("etcd-3.5");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_leader_says_so() {
    if has("etcdctl") {
        is_left_alone(KVD).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_without_a_leader_says_the_same() {
    if has("etcdctl") && has("etcd-3.5") {
        is_left_alone("etcd-3.5").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_come_in_fragments() {
    if has("etcdctl") {
        cuts_what_is_large(KVD).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_of_etcd_come_in_fragments() {
    if has("etcdctl") && has("etcd-3.5") {
        cuts_what_is_large("etcd-3.5").await;
    }
}
