//! Real clusters of three: a killed leader, a learner, forming through discovery, with etcd as the judge.

use std::time::Duration;

use crate::process::{KVD, Member, Place, etcdctl, eventually, has, serves};

fn text(endpoint: &str, args: &[&str]) -> String {
    let output = etcdctl(endpoint, args, "");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn three(dir: &std::path::Path) -> (Vec<Place>, Vec<Member>) {
    let places: Vec<Place> = ["a", "b", "c"].iter().map(|name| Place::new(name, dir)).collect();
    let cluster = places.iter().map(|p| format!("{}={}", p.name, p.peer)).collect::<Vec<_>>().join(",");
    let members = places.iter().map(|p| Member::start(KVD, p, &["--initial-cluster", &cluster])).collect();
    (places, members)
}

#[test]
fn a_killed_leader_loses_nothing_and_comes_back() {
    if !has("etcdctl") {
        return;
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let (_, mut members) = three(dir.path());
    members.iter().for_each(|member| serves(&member.client));
    for number in 0..20 {
        let at = &members[number % 3].client;
        assert_eq!(text(at, &["put", &format!("k{number}"), "v"]), "OK\n");
    }
    let leads = |member: &Member| {
        let line = text(&member.client, &["endpoint", "status", "-w", "fields"]);
        let field = |name: &str| {
            let found = line.lines().find_map(|line| line.strip_prefix(&format!("\"{name}\" : ")));
            found.unwrap_or_default().to_owned()
        };
        !field("Leader").is_empty() && field("Leader") == field("MemberID")
    };
    let leader = members.iter().position(leads).expect("one leads");
    members[leader].kill();
    let other = members[(leader + 1) % 3].client.clone();
    eventually("writes go on", Duration::from_secs(20), || text(&other, &["put", "after", "kill"]) == "OK\n");
    members[leader].restart();
    let back = members[leader].client.clone();
    serves(&back);
    let keys = text(&back, &["get", "", "--prefix", "--keys-only"]);
    assert_eq!(keys.lines().filter(|line| !line.is_empty()).count(), 21, "{keys}");
    let hash = |endpoint: &str| text(endpoint, &["endpoint", "hashkv"]).split(", ").nth(1).map(str::to_owned);
    eventually("all have the same history", Duration::from_secs(10), || {
        let hashes: Vec<_> = members.iter().map(|member| hash(&member.client)).collect();
        hashes[0].is_some() && hashes.iter().all(|hash| *hash == hashes[0])
    });
}

#[test]
fn a_member_joins_learns_and_votes_and_another_leaves() {
    if !has("etcdctl") {
        return;
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let first = Place::new("first", dir.path());
    let second = Place::new("second", dir.path());
    let founding = format!("first={}", first.peer);
    let one = Member::start(KVD, &first, &["--initial-cluster", &founding]);
    serves(&one.client);
    assert_eq!(text(&one.client, &["put", "k", "v"]), "OK\n");
    let added =
        text(&one.client, &["member", "add", "second", "--learner", &format!("--peer-urls={}", second.peer)]);
    assert!(added.contains("added to cluster"), "{added}");
    let id = added.split_whitespace().nth(1).expect("an id").to_owned();
    let both = format!("{founding},second={}", second.peer);
    let two =
        Member::start(KVD, &second, &["--initial-cluster", &both, "--initial-cluster-state", "existing"]);
    eventually("the learner is promoted", Duration::from_secs(20), || {
        text(&one.client, &["member", "promote", &id]).contains("promoted in cluster")
    });
    eventually("it serves reads of its own", Duration::from_secs(20), || {
        text(&two.client, &["get", "k"]) == "k\nv\n"
    });
    let removed = text(&two.client, &["member", "remove", &id]);
    assert!(removed.contains("removed from cluster"), "{removed}");
    eventually("one member is left", Duration::from_secs(20), || {
        text(&one.client, &["member", "list"]).lines().count() == 1
            && text(&one.client, &["put", "k", "w"]) == "OK\n"
    });
}

#[test]
fn a_saved_snapshot_begins_a_new_cluster() {
    if !has("etcdctl") {
        return;
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let (old, new) = (Place::new("old", dir.path()), Place::new("new", dir.path()));
    let file = dir.path().join("saved").to_string_lossy().into_owned();
    let one = Member::start(KVD, &old, &["--initial-cluster", &format!("old={}", old.peer)]);
    serves(&one.client);
    assert_eq!(text(&one.client, &["put", "k", "v1"]), "OK\n");
    assert_eq!(text(&one.client, &["put", "k", "v2"]), "OK\n");
    // etcdctl calls the file its own after saving; only ours knows what is in it.
    text(&one.client, &["snapshot", "save", &file]);
    let cluster = format!("new={}", new.peer);
    let two = Member::start(KVD, &new, &["--initial-cluster", &cluster, "--initial-snapshot", &file]);
    serves(&two.client);
    assert_eq!(text(&two.client, &["get", "k"]), "k\nv2\n");
    assert_eq!(text(&two.client, &["get", "k", "--rev=2"]), "k\nv1\n");
    assert!(text(&two.client, &["member", "list"]).contains("new"));
}

fn form_through_discovery(program: &str) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let place = Place::new("registry", dir.path());
    let registry = Member::start(KVD, &place, &["--initial-cluster", &format!("registry={}", place.peer)]);
    serves(&registry.client);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let asked = format!("{}/new?size=3", registry.client);
    let limit = Duration::from_secs(5);
    let answer = runtime.block_on(kv_client::fetch::fetch(http::Method::GET, &asked, None, None, limit));
    let (status, _, url) = answer.expect("answers");
    assert_eq!(status, 200, "{url}");
    let places: Vec<Place> = ["x", "y", "z"].iter().map(|name| Place::new(name, dir.path())).collect();
    let members: Vec<Member> =
        places.iter().map(|p| Member::start(program, p, &["--discovery", &url])).collect();
    serves(&members[0].client);
    assert_eq!(text(&members[1].client, &["put", "found", "each other"]), "OK\n");
    assert_eq!(text(&members[2].client, &["get", "found"]), "found\neach other\n");
    assert_eq!(text(&members[0].client, &["member", "list"]).lines().count(), 3);
}

#[test]
fn three_of_ours_form_a_cluster_through_our_discovery() {
    if has("etcdctl") {
        form_through_discovery(KVD);
    }
}

#[test]
fn three_etcds_form_a_cluster_through_our_discovery() {
    if has("etcdctl") && has("etcd") {
        form_through_discovery("etcd");
    }
}
